// Package legacy is a small node as the existing Receptor programs are: a model
// to hold conversations with in tests, in this process or as the program
// cmd/legacy-node.
//
// It is written from the description of the wire alone and shares no code with
// our own mesh, so that a misreading of ours does not pass unseen by being made
// twice. It is held to recorded conversations (testdata/vectors). What it does
// it does as existing nodes do, and when they do it: it believes one end of an
// edge, sends its advertisements late, stops when somebody calls it a
// duplicate. What crashes or wrecks an existing node is left out: an empty frame
// and an advertisement without keys are ignored, costs that are not positive are
// ignored, and a cancelled advertisement that nobody knew is not relayed.
//
// Work is the units of a node, which it runs or has others run, signed or not: without
// ttl.
//
// The parts that decide are plain machines that are told the time: peering (one
// link), routing, adverts. Node is the shell around them: sessions over TCP, UDP
// and WebSocket, QUIC, the clock. Everything that it sends and receives on links
// goes to Config.Trace, of which Transcript makes a page to read.
package legacy
