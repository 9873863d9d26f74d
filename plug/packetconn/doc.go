// Package packetconn carries the records of a packet service over a data connection:
// the same code for plugs and cores.
//
// Records are read many at a time and given out where they were read. What is to be
// sent is gathered and goes out in one write as soon as the one before is done. A
// sender never waits for the other side: datagrams beyond a bound are dropped and
// counted.
package packetconn
