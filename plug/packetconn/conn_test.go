package packetconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// record is what was read of one.
type record struct {
	h       wire.RecordHeader
	payload string
}

// readAll reads records until the connection ends, and says why.
func readAll(c *packetconn.Conn, got chan<- record) error {
	defer close(got)
	for {
		err := c.Read(func(h wire.RecordHeader, payload []byte) error {
			got <- record{h, string(payload)}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func pair(t *testing.T) (a, b *packetconn.Conn) {
	t.Helper()
	x, y := net.Pipe()
	a, b = packetconn.New(x), packetconn.New(y)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// Datagrams of all sizes arrive as they were, in order, with PEER and GONE among them.
func TestRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		got := make(chan record, 100)
		go func() { _ = a.Write() }()
		go func() { _ = readAll(b, got) }()
		for i, size := range []int{0, 1, 1400, 65499, 65535, 7} {
			flow := uint32(2*i + 1)
			if err := a.Control(wire.RecordPeer, flow, []byte(`{"node":"n","service":"s"}`)); err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte{byte('a' + i)}, size)
			if !a.Send(flow, 2, want) {
				t.Fatalf("datagram of %d bytes was dropped", size)
			}
			if err := a.Control(wire.RecordGone, flow, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, w := range []record{
				{wire.RecordHeader{Length: 26, Type: wire.RecordPeer, Peer: flow}, `{"node":"n","service":"s"}`},
				{wire.RecordHeader{Length: uint16(size), Type: wire.RecordData, Flags: 2, Peer: flow}, string(want)},
				{wire.RecordHeader{Type: wire.RecordGone, Peer: flow}, ""},
			} {
				if r := <-got; r != w {
					t.Errorf("size %d: got %+v %.20q, want %+v", size, r.h, r.payload, w.h)
				}
			}
		}
		_ = a.Close()
		if _, more := <-got; more {
			t.Error("more has come than was sent")
		}
	})
}

// Nobody waits for a side that does not read: datagrams are dropped and counted, and
// one that reads no control records either is given up.
func TestSlowSide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		written := make(chan error, 1)
		go func() { written <- a.Write() }()
		sent := 0
		for range 1000 {
			if a.Send(1, 0, make([]byte, 1000)) {
				sent++
			}
		}
		if sent < 200 || sent > 600 || a.Dropped() != uint64(1000-sent) {
			t.Errorf("%d of 1000 were sent, %d dropped", sent, a.Dropped())
		}
		if err := a.Control(wire.RecordGone, 1, nil); err != nil {
			t.Errorf("a full queue took no GONE: %v", err)
		}
		var err error
		for i := 0; err == nil && i < 1000; i++ {
			err = a.Control(wire.RecordPeer, 1, make([]byte, wire.MaxPeer))
		}
		if err == nil {
			t.Error("control records without end are queued")
		}
		if err := <-written; err == nil {
			t.Error("Write = nil")
		}
		if a.Send(1, 0, nil) {
			t.Error("sent after the end")
		}
		_ = b
	})
}

// Who waits for room goes on when there is some, when the time is over, or at the end.
func TestSendWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		written := make(chan error, 1)
		go func() { written <- a.Write() }()
		datagram := make([]byte, 60000)
		fill := func() {
			for a.Send(1, 0, datagram) {
				synctest.Wait()
			}
		}
		fill()
		start := time.Now()
		if a.SendWait(1, 0, datagram, time.Minute) || time.Since(start) != time.Minute {
			t.Errorf("no room was waited for %v", time.Since(start))
		}
		sent := make(chan bool)
		go func() { sent <- a.SendWait(1, 0, datagram, time.Minute) }()
		synctest.Wait()
		start = time.Now()
		got := make(chan record, 100)
		go func() { _ = readAll(b, got) }()
		if !<-sent || time.Since(start) != 0 {
			t.Errorf("room that came was waited for %v", time.Since(start))
		}
		synctest.Wait()
		if n := len(got); n < 2 {
			t.Errorf("%d datagrams have come", n)
		}
		for len(got) < cap(got) { // until b's reader takes no more
			_ = a.SendWait(1, 0, datagram, time.Second)
			synctest.Wait()
		}
		fill()
		go func() { sent <- a.SendWait(1, 0, datagram, time.Minute) }()
		synctest.Wait()
		start = time.Now()
		_ = a.Close()
		if <-sent || time.Since(start) != 0 {
			t.Errorf("a connection that has ended was waited for %v", time.Since(start))
		}
		for range got { // whose reader goes
		}
		<-written
	})
}

// Every record that must not be ends the connection, wherever it is cut.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]wire.RecordHeader{
		"end":         {Type: wire.RecordEnd, Peer: 1},
		"reset":       {Type: wire.RecordReset, Peer: 1},
		"unknown":     {Type: 9, Peer: 1},
		"no flow":     {Type: wire.RecordData},
		"flags":       {Type: wire.RecordData, Flags: 4, Peer: 1},
		"peer flags":  {Type: wire.RecordPeer, Flags: 1, Peer: 1},
		"long peer":   {Type: wire.RecordPeer, Length: wire.MaxPeer + 1, Peer: 1},
		"long gone":   {Type: wire.RecordGone, Length: wire.MaxReset + 1, Peer: 1},
		"good before": {Type: wire.RecordData, Length: 3, Peer: 1},
	} {
		x, y := net.Pipe()
		c := packetconn.New(y)
		got := make(chan record, 10)
		go func() {
			defer x.Close()
			for _, b := range append(h.Append(nil), "abc"...) { // one at a time
				if _, err := x.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		err := readAll(c, got)
		if good := name == "good before"; good != errors.Is(err, io.EOF) || good != (len(got) == 1) {
			t.Errorf("%s: %v, %d records", name, err, len(got))
		}
		_ = c.Close()
	}
}

// FuzzRead: whatever comes, records are given out as they are, and reading ends.
func FuzzRead(f *testing.F) {
	f.Add(append(wire.RecordHeader{Type: wire.RecordData, Length: 3, Peer: 1}.Append(nil), "abc"...), 5)
	f.Add(append(wire.RecordHeader{Type: wire.RecordPeer, Length: 2, Peer: 2}.Append(nil), "{}"...), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		x, y := net.Pipe()
		go func() {
			defer x.Close()
			cut = max(0, min(cut, len(b)))
			_, _ = x.Write(b[:cut])
			_, _ = x.Write(b[cut:])
		}()
		c := packetconn.New(y)
		var again []byte
		for {
			err := c.Read(func(h wire.RecordHeader, payload []byte) error {
				if err := h.CheckPacket(); err != nil || len(payload) != int(h.Length) {
					return fmt.Errorf("record %+v of %d bytes: %w", h, len(payload), err)
				}
				again = append(h.Append(again), payload...)
				return nil
			})
			if err != nil {
				break
			}
		}
		if !bytes.HasPrefix(b, again) {
			t.Errorf("read %x, sent %x", again, b)
		}
		_ = c.Close()
	})
}
