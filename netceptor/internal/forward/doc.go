// Package forward is the data path of links: the bytes that arrive on one are
// cut into messages in place, and what is for another node goes, edited where it
// lies, into the queue of the link to the next hop.
//
// Rules that everything here keeps:
//
//   - The reader of a link waits for nothing but its socket. Queues are bounded
//     and drop with a counter.
//   - A message that is forwarded costs no allocation, no string and no lock of
//     its own: messages for one next hop that lie behind each other in the read
//     buffer are queued as one run.
//   - The writer of a link writes at once what has gathered during the write
//     before. There are no timers.
//   - Only a link whose bytes end or fail is given up. A bad message costs itself.
//
// On a link each message has its length before it, 2 bytes, little-endian.
package forward
