package netceptor

import "sync/atomic"

// counter is one thing that is counted on the data path. Those of the machines
// carry names of their own.
type counter int

const (
	countEmpty          counter = iota // a frame without a message
	countShort                         // a data message shorter than its header
	countNotEstablished                // data before the neighbour was accepted
	countUnknownNode                   // source or destination hash never heard of
	countSpoofed                       // our own node as source, over a link
	countWrongWay                      // a source that the neighbour cannot lead to
	countNoRoute                       // nothing leads to the destination
	countExpired                       // no hops left
	countUnknownService                // nobody bound the service
	countReserved                      // from a reserved service to ping
	countLimited                       // an answer or notice over the rate limit
	countBadNotice                     // a notice that cannot be ours
	countPacketQueue                   // a PacketConn's queue was full
	countHashTaken                     // a second name with the hash of a known one
	countWaited                        // a connection that made room for others before it said who it is
	countUnlogged                      // a line about a link that was too many
	countRefused                       // a link, with a reject
	countDuplicate                     // another node claims our ID
	countPanics                        // the handling of a message panicked
	countTLS                           // a handshake of TLS on a link that failed
	countTLSName                       // a neighbour whose certificate is another node's
	countPlain                         // a link without TLS that requiretls refused
	countRejected                      // a firewall rule rejected it
	countDropped                       // a firewall rule dropped it
	counterCount
)

func (c counter) String() string {
	return [counterCount]string{
		countEmpty:          "empty_frame",
		countShort:          "short",
		countNotEstablished: "not_established",
		countUnknownNode:    "unknown_node",
		countSpoofed:        "spoofed_source",
		countWrongWay:       "reverse_path",
		countNoRoute:        "no_route",
		countExpired:        "expired",
		countUnknownService: "service_unknown",
		countReserved:       "reserved_source",
		countLimited:        "rate_limited",
		countBadNotice:      "bad_notice",
		countPacketQueue:    "packet_queue_full",
		countHashTaken:      "hash_taken",
		countWaited:         "connections_waiting",
		countUnlogged:       "log_lines_suppressed",
		countRefused:        "link_refused",
		countDuplicate:      "duplicate_node_id",
		countPanics:         "panics",
		countTLS:            "tls_failed",
		countTLSName:        "tls_wrong_name",
		countPlain:          "tls_required",
		countRejected:       "firewall_rejected",
		countDropped:        "firewall_dropped",
	}[c]
}

// counters count; any goroutine may.
type counters [counterCount]atomic.Uint64

func (c *counters) add(what counter) { c[what].Add(1) }
