package plughost

import "time"

// Limits, each with its reason. They bound what one plug, or one user with many
// plugs, can make the host hold; an honest plug does not meet them. Those that a
// plug has to know stand in package wire.
const (
	// maxSessions bounds attached plugs; a node has a handful. Beyond: busy.
	maxSessions = 256

	// maxKinds and maxRoles bound what a HELLO claims; a plug has a handful of kinds.
	maxKinds = 64
	maxRoles = 16

	// maxDataConns bounds the data connections, and so the objects, of a session:
	// each costs a descriptor and, while bytes flow, two copy buffers. Beyond: limit.
	maxDataConns = 4096

	// connsPerUser bounds the connections of one user, of all kinds together, and
	// the sockets that it has handed over: two full sessions. More connections are
	// closed unread, of more sockets: limit.
	connsPerUser = 2 * maxDataConns

	// readersPerUser bounds the connections of one user whose first bytes are
	// being read. Others of that user wait their turn, nobody else does.
	readersPerUser = 64

	// maxBinds bounds the services of a session: each is a listener in the mesh
	// and may be advertised. Beyond: limit.
	maxBinds = 256

	// maxWorkTypes bounds the types of work of a session. Beyond: limit.
	maxWorkTypes = 256

	// maxTags bounds the tags of a service, in bytes: an advertisement goes to every
	// node of the mesh. Beyond: limit.
	maxTags = 8 << 10

	// maxCounters bounds the counters of a plug; those beyond are not shown.
	maxCounters = 64

	// framesPerSecond and framesBurst bound the requests and notifications of a
	// session. A plug that binds and reports a thousand items at once stays below; one
	// that asks without end is closed with code limit.
	framesPerSecond = 1000
	framesBurst     = 4096

	// openCost is what a request that hands over a socket counts for among these: a
	// proxy needs one for each stream, and some thousand streams a second are honest.
	openCost = 1. / 16

	// configRetry is the pause before a CONFIG that got no answer is sent again.
	configRetry = 10 * time.Second

	// maxDialTimeout is the longest that a DIAL may ask for: an open holds memory
	// on both nodes.
	maxDialTimeout = 5 * time.Minute

	// maxNames bounds the node IDs that a plug tells of a certificate: those of hosts
	// that are many nodes have some. Beyond: limit.
	maxNames = 256

	// maxResidual bounds what a plug may have read of a link before it hands the
	// socket over: enough for one look at what it is.
	maxResidual = 4 << 10

	// linkFarewell is how long the other node may take to read the last frames of
	// a link, such as the one that refuses it, before its socket is closed.
	linkFarewell = time.Second

	// peersEvery is the shortest time between two PEERS: while a mesh settles its routes
	// change many times a second. Of more services than maxPeers the first are told of,
	// by node: a body has its bound.
	peersEvery = 100 * time.Millisecond
	maxPeers   = 1024

	// maxKept bounds the listening sockets of a user that are kept, one descriptor
	// each. Beyond: limit.
	maxKept = 1024

	// keptLinger is how long a listening socket is kept for a plug that has gone: a
	// restart takes less, and whoever connects waits meanwhile.
	keptLinger = 60 * time.Second

	// takeoverDrain is how long a plug that was taken over may finish what it
	// relays. What it has handed over is not concerned.
	takeoverDrain = 5 * time.Minute

	// maxText bounds every text of a plug that is shown in status and logs.
	maxText = 256

	// logEvery is how often the same refusal of the same user is logged; a plug
	// that is not welcome dials again for ever.
	logEvery = time.Minute

	// acceptBackoffMin and acceptBackoffMax bound the pause after an error of
	// accept, such as no free descriptors.
	acceptBackoffMin = 5 * time.Millisecond
	acceptBackoffMax = time.Second
)
