// Package wire is the byte layer of the plug protocol, plug/1: the preamble,
// the control frame header, the record header and the JSON bodies of every
// message. It is pure: no sockets, no goroutines, no clocks.
//
// The normative text is plug/SPEC.md; this package is its transcription. All
// fixed headers are big-endian. Each codec is a pair Append and Parse; Parse
// returns the bytes used, and ErrShort means "read more and try again".
package wire

import "errors"

// ErrShort is returned by a parser that needs more bytes than it was given.
var ErrShort = errors.New("plug: short input")

// Major is the wire major version this package speaks. A core supports this
// one and the one before it.
const Major = 1

// SocketEnv names the environment variable that tells a plug its core's socket.
const SocketEnv = "RECEPTOR_PLUG_SOCKET"
