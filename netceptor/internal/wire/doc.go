// Package wire holds the messages of a link, to the byte: what existing nodes
// send and accept. It is pure.
package wire
