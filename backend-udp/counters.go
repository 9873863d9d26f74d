package backendudp

// What is dropped, by reason: the names of counters.
const (
	countEmpty      = "datagram_empty"      // of a datagram without a message
	countOversize   = "datagram_oversize"   // a message that no datagram takes
	countPath       = "datagram_path"       // data larger than the way takes in one piece
	countQueue      = "datagram_queue"      // the core or the plug did not keep up
	countUnsent     = "datagram_unsent"     // the system did not take it
	countUnanswered = "datagram_unanswered" // of an unknown source, and too small for an answer, or while there is no core
	countUnproven   = "datagram_unproven"   // to a source that has not shown yet that it hears us
	countStray      = "datagram_stray"      // to a udp-peer, from another source than it speaks with
	countFull       = "sessions_full"       // of a new source, beyond maxSessions
)
