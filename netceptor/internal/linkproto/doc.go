// Package linkproto is the protocol of one link, as a machine without clock,
// socket or goroutine: who the neighbour is, whether it is let in, and when the
// link must end. Messages and times go in, effects come out.
//
//	connecting --first update of the peer about itself--> established --> closed
//
// Connecting, each side sends an update about itself every InitInterval until it
// has heard one of the peer. All that counts of that update is who sent it, its
// epoch and its Ext, unless it lists us with our cost already; everything else that
// arrives before it is ignored.
//
// Established, the peer must be the forwarder of every update. Once its own
// updates have listed us they must go on to do so, and always with our cost.
//
// Nothing that a peer sends can do more than end the link.
package linkproto
