package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// Of what is measured of datagrams.
const (
	datagramSize    = 1200
	datagramWindow  = 64 // that are on their way at any time
	datagramSeconds = 2
	datagramPings   = 1000
	datagramLost    = 200 * time.Millisecond // without an answer: they are sent anew
)

// echoUDP sends back each datagram.
func echoUDP(ctx context.Context, _ []string) error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	fmt.Println(c.LocalAddr())
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		if _, err := c.WriteToUDPAddrPort(b[:n], from); err != nil {
			return err
		}
	}
}

// datagramWay is a way for datagrams to an echo and back, and what was measured of it.
type datagramWay struct {
	name    string
	addr    string
	results []datagramResult
}

// datagramResult is one turn.
type datagramResult struct {
	perSecond float64       // answers, with datagramWindow under way
	p50, p99  time.Duration // of one there and back, alone
	lost      int
}

// datagrams lets bare UDP and the proxies of two nodes take turns and prints medians.
func datagrams(ctx context.Context, l *lab.Lab, rounds int) error {
	echo, err := startRole(ctx, "udp-echo")
	if err != nil {
		return err
	}
	defer echo.Kill()
	ways := []*datagramWay{{name: "bare UDP loopback", addr: echo.addr}}
	for _, w := range mediaWays() {
		addr, err := startDatagramMesh(ctx, l, w, echo.addr)
		if err != nil {
			return fmt.Errorf("datagrams over %s: %w", w.name, err)
		}
		ways = append(ways, &datagramWay{name: "receptor, 2 nodes, " + w.medium.name, addr: addr})
	}
	for range rounds {
		for _, w := range ways {
			r, err := measureDatagrams(ctx, w.addr)
			if err != nil {
				return fmt.Errorf("datagrams, %s: %w", w.name, err)
			}
			w.results = append(w.results, r)
		}
	}
	fmt.Printf("\ndatagrams of %d bytes there and back, medians of %d rounds\n", datagramSize, rounds)
	fmt.Printf("%-32s %9s %8s %10s %10s %8s %6s\n", "", "answers/s", "of bare", "p50", "p99", "of bare", "lost")
	bare := medianDatagrams(ways[0].results)
	for _, w := range ways {
		m := medianDatagrams(w.results)
		fmt.Printf("%-32s %9.0f %8.2f %10v %10v %8.1f %6d\n", w.name, m.perSecond, m.perSecond/bare.perSecond,
			m.p50.Round(time.Microsecond), m.p99.Round(time.Microsecond), float64(m.p50)/float64(bare.p50), m.lost)
	}
	return nil
}

// mediaWays is ways with each medium once.
func mediaWays() []way {
	return slices.DeleteFunc(ways(), func(w way) bool { return w.mode == relay })
}

// startDatagramMesh joins two nodes and returns the address that leads to the echo.
func startDatagramMesh(ctx context.Context, l *lab.Lab, w way, echo string) (string, error) {
	link, err := w.medium.free()
	if err != nil {
		return "", err
	}
	entry, err := lab.FreeUDPPort()
	if err != nil {
		return "", err
	}
	near, far := "near-udp-"+w.name, "far-udp-"+w.name
	m := &mesh{procs: map[string][]int{}}
	programs := []string{w.medium.program, "receptor-proxy-udp"}
	err = errors.Join(
		m.startNode(l, near, w.mode, programs,
			"--"+w.medium.listener, "port="+strconv.Itoa(link), "bindaddr=127.0.0.1",
			"--udp-server", "port="+strconv.Itoa(entry), "bindaddr=127.0.0.1", "remotenode="+far, "remoteservice=echo"),
		m.startNode(l, far, w.mode, programs,
			"--"+w.medium.peer, "address="+w.medium.scheme+lab.Local(link),
			"--udp-client", "service=echo", "address="+echo),
	)
	if err != nil {
		return "", err
	}
	if err := l.WaitRoute(ctx, near, far); err != nil {
		return "", err
	}
	for node, item := range map[string]string{near: "udp-server port=" + strconv.Itoa(entry), far: "udp-client service=echo"} {
		if err := l.WaitStatus(ctx, node, func(s *lab.Status) bool { return s.Item(item).State == "up" }); err != nil {
			return "", fmt.Errorf("%s: %w", item, err)
		}
	}
	return lab.Local(entry), nil
}

// measureDatagrams is one turn.
func measureDatagrams(ctx context.Context, addr string) (r datagramResult, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a := &asker{conn: conn}
	if err := a.answers(1, func(n int) bool { return n < 10 }); err != nil { // a flow, and both nodes warm
		return r, err
	}
	a.lost = 0
	took := make([]time.Duration, 0, datagramPings)
	last := time.Now()
	err = a.answers(1, func(int) bool {
		now := time.Now()
		took, last = append(took, now.Sub(last)), now
		return len(took) < datagramPings
	})
	if err != nil {
		return r, err
	}
	slices.Sort(took)
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	start := time.Now()
	err = a.answers(datagramWindow, func(n int) bool {
		took := time.Since(start)
		r.perSecond = float64(n) / took.Seconds()
		return took < datagramSeconds*time.Second
	})
	r.lost = a.lost
	return r, err
}

// asker sends numbered datagrams to an echo.
type asker struct {
	conn net.Conn
	buf  [datagramSize]byte // what is sent
	got  [1 << 16]byte
	next uint64 // the number of the next one
	lost int
}

// answers keeps so many datagrams under way, and tells more how many were answered,
// until it wants no more. When nothing comes any more, those under way are lost: they
// are counted, and as many others sent.
func (a *asker) answers(window int, more func(answered int) bool) error {
	oldest, missing := a.next, 0 // answers to those before come late, and are not counted
	for answered := 0; ; {
		for ; missing < window; missing++ {
			if err := a.send(); err != nil {
				return err
			}
		}
		if err := a.conn.SetReadDeadline(time.Now().Add(datagramLost)); err != nil {
			return err
		}
		n, err := a.conn.Read(a.got[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.lost += missing
			oldest, missing = a.next, 0
		case err != nil:
			return err
		case n == datagramSize && binary.BigEndian.Uint64(a.got[:]) >= oldest:
			missing--
			if answered++; !more(answered) {
				return a.rest(missing)
			}
		}
	}
}

// rest waits for the answers that are missing, and counts those that do not come.
func (a *asker) rest(missing int) error {
	for ; missing > 0; missing-- {
		if err := a.conn.SetReadDeadline(time.Now().Add(datagramLost)); err != nil {
			return err
		}
		if _, err := a.conn.Read(a.got[:]); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return err
		}
	}
	a.lost += missing
	return nil
}

func (a *asker) send() error {
	binary.BigEndian.PutUint64(a.buf[:], a.next)
	a.next++
	_, err := a.conn.Write(a.buf[:])
	return err
}

// medianDatagrams is each median by itself, and all that were lost.
func medianDatagrams(rs []datagramResult) (m datagramResult) {
	var rates []float64
	var p50s, p99s []time.Duration
	for _, r := range rs {
		rates, p50s, p99s = append(rates, r.perSecond), append(p50s, r.p50), append(p99s, r.p99)
		m.lost += r.lost
	}
	slices.Sort(rates)
	slices.Sort(p50s)
	slices.Sort(p99s)
	m.perSecond, m.p50, m.p99 = rates[len(rs)/2], p50s[len(rs)/2], p99s[len(rs)/2]
	return m
}
