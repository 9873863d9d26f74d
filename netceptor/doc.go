// Package netceptor is the mesh: a Node with links to its neighbours, routing
// between all nodes, datagrams and streams.
//
// A Node owns no backend. Links are given to it by AddLink as connections that
// carry length-prefixed frames, whoever made them. Several nodes can live in one
// process; the package has no state of its own, reads no files and no flags.
//
// # How it is made
//
// What a node knows is kept by three machines that have no goroutine, clock or
// socket: internal/linkproto for each link, internal/route and internal/advert for
// the mesh. They are called under one mutex (mesh.go), and what they want sent is
// queued under it, so that updates keep their order. Data takes no part in that:
// internal/forward moves it by an immutable snapshot of the routes, and what is for
// this node is delivered (deliver.go) to whoever bound the service: a PacketConn, or
// internal/streams.
//
// Goroutines of a node: one for the time of the machines, one for what the node
// sends to itself, three for each link (its owner, reader and writer), and those of
// internal/streams. Close waits for all of them.
package netceptor
