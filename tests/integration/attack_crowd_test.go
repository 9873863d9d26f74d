package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// Ten thousand connections and more that are no neighbours, of all sorts and more at a
// time than may wait, while a transfer runs over a link of the same listener: no byte of it is
// lost, a newcomer from elsewhere gets in meanwhile, few get as far as the core, and
// afterwards nothing is left of them. What the transfer loses by it bench-junk tells.
func TestTenThousandJunkConnections(t *testing.T) {
	const crowd, atOnce = 10_000, 1500
	p, err := plain() // memory is to be that of the programs
	must(t, err)
	s := newStandOf(t, p)
	core, backend := s.program(t, "receptor-core"), s.program(t, "receptor-backend-tcp")
	before := s.status(t)
	coreFDs, backendFDs := descriptors(t, core.PID()), descriptors(t, backend.PID())
	memory := resident(t, core.PID()) + resident(t, backend.PID())

	x := startTransfer(t, s.entries[0])
	const sample = 128 << 20
	alone := x.rate(t, s, func() bool { return x.bytes.Load() >= sample })

	cpu := func() [3]float64 {
		var all [3]float64
		for i, pid := range []int{core.PID(), backend.PID(), os.Getpid()} {
			all[i] = cpuSeconds(t, pid)
		}
		return all
	}
	used := cpu()
	var sent atomic.Int64
	var junk sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	started := time.Now()
	joined := make(chan struct{})
	junk.Go(func() {
		for i := 0; i < crowd || !isClosed(joined); i++ {
			slots <- struct{}{}
			junk.Go(func() {
				defer func() { <-slots; sent.Add(1) }()
				s.junk(i)
			})
		}
	})
	crowded := x.rate(t, s, func() bool { return sent.Load() >= crowd/2 })
	s.newcomer(t, s.fromElsewhere())
	close(joined)
	junk.Wait()
	for i, now := range cpu() {
		used[i] = now - used[i]
	}
	t.Logf("CPU: core %.1f s, backend %.1f s, this test %.1f s", used[0], used[1], used[2])
	t.Logf("%d connections in %.1f s; the transfer ran at %.1f MB/s before, at %.1f MB/s (%.0f %%) meanwhile",
		sent.Load(), time.Since(started).Seconds(), alone/1e6, crowded/1e6, 100*crowded/alone)
	x.finish(t)

	s.expectUnhurt(t)
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) <= 2 })) // and the newcomer
	var nowCore, nowBackend int
	if err := waitFor(s.ctx, func() bool {
		nowCore, nowBackend = descriptors(t, core.PID()), descriptors(t, backend.PID())
		return nowCore <= coreFDs+1 && nowBackend <= backendFDs+1
	}); err != nil {
		t.Errorf("descriptors: core %d, backend %d; at first %d and %d", nowCore, nowBackend, coreFDs, backendFDs)
	}
	grown := resident(t, core.PID()) + resident(t, backend.PID()) - memory
	t.Logf("memory of core and backend grew by %.1f MB", float64(grown)/1e6)
	if grown > 256<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	after := s.status(t)
	for _, name := range []string{"empty_frame", "link_refused"} { // by those before it was a crowd, and by all
		if after.Counters[name] == before.Counters[name] {
			t.Errorf("counter %s has not risen", name)
		}
	}
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool {
		return st.Plug("backend-tcp").Counters["connections_no_hello"] > crowd/4 // half are of such sorts
	}))
	if lines := strings.Count(core.Output()+backend.Output(), "\n"); lines > 1000 {
		t.Errorf("%d lines were logged", lines)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// fromElsewhere is the way to the victim's listener from another address than that of
// everybody else.
func (s *stand) fromElsewhere() medium {
	return medium{"TCP from elsewhere", func(t *testing.T) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		c, err := d.DialContext(s.ctx, "tcp", s.link)
		must(t, err)
		return c
	}}
}

// newcomer makes a link as nodes do: it tries again where it had to give way.
func (s *stand) newcomer(t *testing.T, m medium) {
	t.Helper()
	for {
		p := s.silent(t, m)
		p.own(nil)
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		err := s.WaitStatus(ctx, victim, func(st *lab.Status) bool {
			return slices.ContainsFunc(st.Links, func(l lab.Link) bool { return l.Peer == evil && l.State == "established" })
		})
		cancel()
		if err == nil {
			return
		}
		if s.ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// junk makes a connection of some sort. Whatever the victim does to it is fine.
func (s *stand) junk(i int) {
	c, err := net.Dial("tcp", s.link)
	if err != nil {
		return
	}
	defer c.Close()
	random := make([]byte, 512)
	for j := range random {
		random[j] = byte(rand.Uint32())
	}
	silence := 2 * time.Second // some of them stay for as long
	switch i % 8 {
	case 0:
		silence = 0
	case 1:
		_ = c.(*net.TCPConn).SetLinger(0)
		silence = 0
	case 2:
		_, _ = c.Write(make([]byte, 512)) // empty frames
		silence = 0
	case 3:
		_, _ = c.Write(random)
	case 4:
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	case 5:
		_, _ = c.Write([]byte{0xff, 0xff, 1, '{'})
	case 6:
		body := fmt.Sprintf("\x01"+`{"NodeID":"%s","ForwardingNode":"%s"}`, victim, victim)
		_, _ = c.Write(append([]byte{byte(len(body)), 0}, body...))
	}
	_ = c.SetReadDeadline(time.Now().Add(silence))
	_, _ = io.Copy(io.Discard, c)
}

// program is one of the victim's.
func (s *stand) program(t *testing.T, name string) *lab.Process {
	t.Helper()
	for _, p := range s.programs {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("the victim has no %s", name)
	return nil
}

// waitFor waits until ok says yes.
func waitFor(ctx context.Context, ok func() bool) error {
	for !ok() {
		if err := lab.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// transfer is random bytes through an echo at the other end, for as long as one
// likes.
type transfer struct {
	conn  *net.TCPConn
	stop  chan struct{}
	bytes atomic.Int64 // that came back
	there hash.Hash
	back  hash.Hash
	errs  chan error // two, at the end
}

func startTransfer(t *testing.T, entry string) *transfer {
	t.Helper()
	conn, err := lab.DialWait(t.Context(), entry)
	must(t, err)
	return transferOver(t, conn)
}

// transferOver is startTransfer on a connection that leads to an echo.
func transferOver(t *testing.T, conn *net.TCPConn) *transfer {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	x := &transfer{conn: conn, stop: make(chan struct{}), there: sha256.New(), back: sha256.New(), errs: make(chan error, 2)}
	go func() {
		source := rand.NewChaCha8([32]byte{1})
		b := make([]byte, 64<<10)
		for {
			select {
			case <-x.stop:
				x.errs <- conn.CloseWrite()
				return
			default:
			}
			source.Read(b)
			x.there.Write(b)
			if _, err := conn.Write(b); err != nil {
				x.errs <- err
				return
			}
		}
	}()
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := conn.Read(b)
			x.back.Write(b[:n])
			x.bytes.Add(int64(n))
			if errors.Is(err, io.EOF) {
				err = nil
			} else if err == nil {
				continue
			}
			x.errs <- err
			return
		}
	}()
	return x
}

// rate is what comes back, in bytes a second, until a condition holds.
func (x *transfer) rate(t *testing.T, s *stand, until func() bool) float64 {
	t.Helper()
	start, first := time.Now(), x.bytes.Load()
	must(t, waitFor(s.ctx, until))
	return float64(x.bytes.Load()-first) / time.Since(start).Seconds()
}

// finish ends the transfer, all of which must have come back.
func (x *transfer) finish(t *testing.T) {
	t.Helper()
	close(x.stop)
	for range 2 {
		must(t, <-x.errs)
	}
	if !bytes.Equal(x.there.Sum(nil), x.back.Sum(nil)) {
		t.Errorf("other bytes came back: %d", x.bytes.Load())
	}
}

// descriptors is how many a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	must(t, err)
	return len(entries)
}

// resident is the memory of a process.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	must(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	must(t, err)
	return pages * int64(os.Getpagesize())
}

// cpuSeconds is the processor time that a process has used.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	must(t, err)
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const ticks = 100 // a second, on every Linux
	var sum float64
	for _, f := range fields[11:13] { // user and system
		n, err := strconv.ParseFloat(f, 64)
		must(t, err)
		sum += n / ticks
	}
	return sum
}
