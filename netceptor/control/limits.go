package control

import "time"

const (
	// MaxLine bounds a command line, its LF included. A signed submit with a large
	// parameter fits; a client that exceeds it is told so, and the conversation ends.
	MaxLine = 1 << 20

	// maxID bounds the id of a line in our own form: it comes back with every event.
	maxID = 4 << 10

	// MaxSessions bounds the conversations of one listener, so that clients on the
	// mesh cannot shut out those on the Unix socket. Above it a client is told so
	// instead of greeted.
	MaxSessions = 256

	// FirstLineTimeout is how long a client on the mesh may take for its first
	// line, and IdleTimeout for each further one. Legacy nodes wait for ever;
	// legacy clients speak at once, but a person may type over the mesh. Clients on
	// a Unix socket have rights on this machine, and all the time they want.
	FirstLineTimeout = time.Minute
	IdleTimeout      = 30 * time.Minute

	// The same on TCP, where anybody may come and take a place.
	TCPFirstLineTimeout = 10 * time.Second
	TCPIdleTimeout      = 5 * time.Minute

	// handshakeTimeout bounds the handshake of TLS, as with legacy nodes.
	handshakeTimeout = 10 * time.Second

	// writeTimeout is how long a client may take for writeChunk bytes of an answer
	// before it is given up. A pager that is looked at for a while is no reason to
	// lose it; a stopped process must not hold its conversation for ever.
	writeTimeout = 5 * time.Minute
	writeChunk   = 32 << 10

	// lingerTimeout and lingerBytes bound how long a connection that ends with an
	// error is still read, so that the error text arrives before a reset does.
	lingerTimeout = time.Second
	lingerBytes   = 4 * MaxLine

	// refuseTimeout bounds the sentence to a client that is refused: the accept
	// loop writes it.
	refuseTimeout = 100 * time.Millisecond

	// acceptBackoff is how long Serve waits after an error of Accept (descriptors
	// may have run out), doubled up to maxAcceptBackoff.
	acceptBackoff    = 5 * time.Millisecond
	maxAcceptBackoff = time.Second
)
