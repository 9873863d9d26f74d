// Package adopted carries bytes over sockets that another process gave us. It
// alone touches them.
//
// What a process hands over it may have kept a duplicate of, and most that can
// be set on a socket is shared between duplicates. So nothing here relies on it:
//
//   - O_NONBLOCK is asked for with each read and write (MSG_DONTWAIT), never
//     taken for set. A giver that clears it cannot make a thread of ours wait.
//   - SO_LINGER is set again right before each close, else a giver could make
//     close itself wait.
//   - What arrived is a connected stream socket of a family that is allowed, or it
//     is refused. Nothing is read from it to find out.
//
// An idle direction holds no buffer: one is taken when there is something to read.
package adopted
