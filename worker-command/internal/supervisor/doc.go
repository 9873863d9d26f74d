// Package supervisor is the process between a unit and the worker: it starts the
// unit's process, passes what that writes to the unit's files, ends it with all that
// came from it, and leaves word of how it ended. It outlives the plug, which finds it
// again by the lock that it holds and talks to it over a socket.
//
// Output goes through pipes, and from them into the files by splice: it moves pages,
// and what has not arrived in the file is still in the pipe. So growth is noticed
// at once and an idle unit costs nothing (a file that the unit writes itself would have
// to be looked at a hundred times a second); and whatever moment a supervisor is
// killed at, the plug, which has the other descriptors of both, moves the rest. Only
// if both are killed are the up to 64 KiB lost that were in the pipe: the file is
// a prefix of what was written then, and the unit Lost.
package supervisor
