package packetconn_test

import (
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// TestDatagramAllocs: what is carried takes no memory, neither as it is queued and
// written nor as it is read.
func TestDatagramAllocs(t *testing.T) {
	x, y := net.Pipe()
	a, b := packetconn.New(x), packetconn.New(y)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.Write() // until the connection is closed
	}()
	defer func() {
		_, _ = a.Close(), b.Close()
		<-ended
	}()
	datagram := make([]byte, 1400)
	got := 0
	each := func(_ wire.RecordHeader, payload []byte) error {
		got += len(payload)
		return nil
	}
	round := func() {
		if !a.Send(1, 0, datagram) {
			t.Fatal("a datagram was dropped")
		}
		for got = 0; got < len(datagram); {
			if err := b.Read(each); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 4 {
		round() // both of the buffers that Write takes turns with grow
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}
