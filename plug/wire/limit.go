package wire

import "time"

// Limits of plug/1. A side that meets more than a limit allows refuses it: one
// request with an Error, a frame that breaks the framing with ERROR and a close.
const (
	// MaxBodyBeforeWelcome bounds the body of the first frame of a connection
	// and of its answer, so that a stranger costs little.
	MaxBodyBeforeWelcome = 64 << 10

	// MaxBody bounds the body of any later frame: some thousand items in one CONFIG.
	MaxBody = 1 << 20

	// MaxFDs bounds the descriptors of one frame.
	MaxFDs = 4

	// MaxQueue bounds the bytes that wait to be written to the other side of a
	// session. One that lets more gather has stopped reading: the session closes.
	MaxQueue = 1 << 20

	// MaxRequests bounds the unanswered requests of each side of a session,
	// PING and those that open an object not counted. One more is busy.
	MaxRequests = 64

	// MaxOpens bounds the unanswered requests of a session that open an object.
	// One more is busy.
	MaxOpens = 4096

	// MaxOpensPerItem bounds them for one item or bind, so that one busy service
	// leaves room for others.
	MaxOpensPerItem = 256

	// MaxRecord bounds the payload of a record: its length field has 16 bits.
	MaxRecord = 1<<16 - 1

	// RecordCoalesce is how much a writer of records puts into one write, and a
	// reader takes with one read.
	RecordCoalesce = 64 << 10

	// MaxPeer bounds the payload of a PEER record: two names of the mesh.
	MaxPeer = 4 << 10

	// MaxFlows bounds the flows of a packet service, on either side. Of more the one
	// that was idle longest is gone.
	MaxFlows = 4096

	// ECNMask is the part of a datagram record's flags that is its ECN field.
	ECNMask = 0x3

	// MaxHandle bounds what a worker has the core keep of a unit, and MaxUnits the
	// units of a UNIT or RECOVER: with both a body stays below MaxBody.
	MaxHandle = 4 << 10
	MaxUnits  = 128

	// MaxReset bounds the payload of a RESET record, which a reader must hold whole.
	MaxReset = 4 << 10
)

// Times of plug/1.
const (
	// PreambleTimeout is how long a core waits for a connection's preamble and
	// first frame together.
	PreambleTimeout = 5 * time.Second

	// RequestTimeout is how long an answer may take where nothing else is said.
	RequestTimeout = 10 * time.Second

	// DialTimeout is how long DIAL may take when its timeout_ms is 0.
	DialTimeout = 15 * time.Second

	// AttachTimeout is how long an accepted stream waits for its ATTACH.
	AttachTimeout = 10 * time.Second

	// BindLinger is how long a bind outlives its session: streams that arrive
	// meanwhile wait for the plug to come back.
	BindLinger = 5 * time.Second

	// HeartbeatInterval is what a core asks for unless told otherwise.
	HeartbeatInterval = 5 * time.Second

	// HeartbeatMisses is how many intervals a PING stays unanswered before the
	// other side counts as stalled.
	HeartbeatMisses = 3
)
