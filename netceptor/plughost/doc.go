// Package plughost serves the plug socket of a node: it joins plugs, by the
// plug protocol, to the mesh. It checks who they are, gives them their items,
// runs links and streams for them, and survives whatever they do.
//
// # How it works
//
// Every connection is looked at in the same order: who is at the other end
// (peer credentials), whether the policy knows that user, the preamble, then
// one frame. A session (HELLO) lives as long as its plug; a data connection
// (LINK, DIAL, ATTACH) presents the secret of a session of the same user and
// becomes one object: a link or a stream.
//
// What is configured and who is attached meet in one place, Host.resolve: it
// gives each item to the session that claims its kind, and everything that is
// seen from outside (the CONFIG that a plug gets, the state of an item) is
// computed from that. Nothing is patched step by step, so a lost event heals
// with the next.
//
// # Invariants
//
//   - One mutex, Host.mu, guards all that is known of sessions, items and binds.
//     Nothing blocks under it, and no byte of a link or a stream takes it.
//   - An object lives and dies with its data connection, not with its session: the
//     last bytes of a plug that has ended in order still arrive. One whose socket was
//     handed over lives and dies with that socket, and ends with its item.
//   - What a plug can make the host hold is bounded: by session (limits.go), and
//     over all sessions of one user, so that attaching again gains nothing.
//   - Every goroutine ends before Close and Serve return.
package plughost
