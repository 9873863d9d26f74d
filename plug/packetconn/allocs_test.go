package packetconn_test

import (
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// endless is a connection that gives the same bytes again and again, and takes all,
// telling how many.
type endless struct {
	net.Conn
	in      []byte
	written chan int
}

func (e *endless) Read(b []byte) (int, error) { return copy(b, e.in), nil }

func (e *endless) Write(b []byte) (int, error) {
	e.written <- len(b)
	return len(b), nil
}

func (e *endless) Close() error { return nil }

// TestPacketAllocs: datagrams take no memory, neither as they are sent nor as they come.
func TestPacketAllocs(t *testing.T) {
	const batch, size = 32, 1400
	payload := make([]byte, size)
	e := &endless{written: make(chan int)}
	for range batch {
		e.in = append(wire.RecordHeader{Length: size, Type: wire.RecordData, Peer: 3}.Append(e.in), payload...)
	}
	c := packetconn.New(e)
	done := make(chan error, 1)
	go func() { done <- c.Write() }()
	come := 0
	each := func(_ wire.RecordHeader, b []byte) error {
		come += len(b)
		return nil
	}
	if n := testing.AllocsPerRun(100, func() {
		come = 0
		for range batch {
			if !c.Send(3, 1, payload) {
				t.Fatal("a datagram was dropped")
			}
		}
		for rest := batch * (size + wire.RecordSize); rest > 0; {
			rest -= <-e.written
		}
		if err := c.Read(each); err != nil || come != batch*size {
			t.Fatalf("%d bytes have come: %v", come, err)
		}
	}); n >= 1 {
		t.Errorf("a batch of %d datagrams takes %v allocations", batch, n)
	}
	_ = c.Close()
	if err := <-done; err == nil {
		t.Error("Write = nil")
	}
}
