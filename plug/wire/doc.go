// Package wire is the byte layer of the plug protocol, plug/1: the preamble,
// the control frame header, the record header and the JSON bodies of every
// message. It is pure: no sockets, no goroutines, no clocks.
//
// The normative text is plug/SPEC.md; this package is its transcription. All
// fixed headers are big-endian. Each codec is a pair Append and Parse; Parse
// returns the bytes used, and ErrShort means "read more and try again". Any
// other error of a parser is a *FormatError: the other side does not speak
// plug/1, and nothing after those bytes can be trusted.
package wire

// Major is the wire major version this package speaks. A core supports this
// one and the one before it.
const Major = 1

// SocketEnv names the environment variable that tells a plug its core's socket.
const SocketEnv = "RECEPTOR_PLUG_SOCKET"
