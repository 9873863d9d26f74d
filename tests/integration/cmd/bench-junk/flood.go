//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// child is this program in another part.
type child struct {
	*lab.Process
	addr string // of a stranger
}

func startChild(ctx context.Context, nice int, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := lab.Start(args[0], exec.Command("nice", append([]string{"-n", strconv.Itoa(nice), self}, args...)...))
	if err != nil {
		return nil, err
	}
	if err := p.WaitOutput(ctx, "\n"); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w: %s", err, p.Output())
	}
	line, _, _ := strings.Cut(p.Output(), "\n")
	return &child{Process: p, addr: line}, nil
}

// startStranger starts a program that accepts and closes.
func startStranger(ctx context.Context) (*child, error) { return startChild(ctx, 0, "stranger") }

func stranger(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_ = c.Close()
	}
}

// startFlood starts the maker of junk.
func (s *settings) startFlood(ctx context.Context, to string) (*child, error) {
	return startChild(ctx, s.nice, "flood", to, strconv.Itoa(s.rate), strconv.Itoa(s.sources), s.medium+"/"+s.sort)
}

// made is how many connections were established so far.
func (c *child) made() int {
	if c == nil {
		return 0
	}
	out := strings.TrimSuffix(c.Output(), "\n")
	n, _ := strconv.Atoi(out[strings.LastIndexByte(out, '\n')+1:]) // its own lines
	return n
}

// stay is how long a connection stays that waits for something.
const stay = time.Second

// junk is a sort of it.
type junk struct {
	name  string
	bytes func() []byte // nil: none
	reset bool          // at the end
	stay  bool
}

// sorts are those of a medium.
func sorts(medium string) []junk {
	fixed := func(b []byte) func() []byte { return func() []byte { return b } }
	update := fmt.Sprintf("\x01"+`{"NodeID":%q,"ForwardingNode":%q}`, "victim", "victim")
	hello := append(binary.LittleEndian.AppendUint16(nil, uint16(len(update))), update...) //nolint:gosec // short
	if medium == "ws" {
		hello = []byte("GET /mesh HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
	}
	return []junk{
		{name: "closed"},
		{name: "reset", reset: true},
		{name: "zeros", bytes: fixed(make([]byte, 512))},
		{name: "random", bytes: random, stay: true},
		{name: "request", bytes: fixed([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), stay: true},
		{name: "begun", bytes: fixed(append([]byte{0xff, 0xff}, hello[2:10]...)), stay: true},
		{name: "hello", bytes: fixed(hello), stay: true}, // as far as it can be told without reading it
		{name: "silent", stay: true},
	}
}

func random() []byte {
	b := make([]byte, 512)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rand.Uint64())
	}
	return b
}

// flood makes connections, one after the other in one thread, which takes least,
// and prints now and then how many there were.
func flood(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("expected ADDRESS RATE SOURCES MEDIUM/SORT, got %q", args)
	}
	to, err := netip.ParseAddrPort(args[0])
	rate, err2 := strconv.Atoi(args[1])
	sources, err3 := strconv.Atoi(args[2])
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	medium, sort, _ := strings.Cut(args[3], "/")
	all := sorts(medium)
	if sort != "" {
		for _, j := range all {
			if j.name == sort {
				all = []junk{j}
			}
		}
		if len(all) != 1 {
			return fmt.Errorf("there is no junk %q", sort)
		}
	}
	f := &maker{to: &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, sources: sources}
	fmt.Println(0)
	const step = 2 * time.Millisecond
	start := time.Now()
	told := start
	for i := 0; ctx.Err() == nil; {
		now := time.Now()
		f.end(now.Add(-stay))
		for due := int(now.Sub(start).Seconds() * float64(rate)); i < due && time.Since(now) < 10*step; i++ {
			if err := f.make(all[i%len(all)], i); err != nil {
				return err
			}
		}
		if now.Sub(told) > 100*time.Millisecond {
			told = now
			fmt.Println(f.made)
			if behind := now.Sub(start) - time.Duration(float64(i)/float64(rate)*1e9); behind > time.Second {
				start = start.Add(behind) // it makes what it can, and no more later for it
			}
		}
		_ = lab.Pause(ctx, step)
	}
	return nil
}

// maker makes junk.
type maker struct {
	to      *syscall.SockaddrInet4
	sources int
	made    int // that were established
	staying []staying
}

// staying is a connection that waits.
type staying struct {
	fd    int
	since time.Time
}

func (f *maker) make(j junk, i int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if f.sources > 0 {
		n := i % f.sources
		if err := bindTo(fd, [4]byte{127, 1, byte(n >> 8), byte(n)}); err != nil {
			return errors.Join(err, syscall.Close(fd))
		}
	}
	if err := syscall.Connect(fd, f.to); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		_ = syscall.Close(fd)
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil // not made
		}
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := syscall.Getpeername(fd); err == nil { // on loopback it is there at once, or its backlog is full
		f.made++
	}
	if j.bytes != nil {
		_, _ = syscall.Write(fd, j.bytes()) // whatever the other side does
	}
	if j.reset {
		_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}
	if j.stay {
		f.staying = append(f.staying, staying{fd, time.Now()})
		return nil
	}
	return syscall.Close(fd)
}

func bindTo(fd int, from [4]byte) error {
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1); err != nil {
		return err
	}
	return syscall.Bind(fd, &syscall.SockaddrInet4{Addr: from})
}

// end ends the connections that have stayed since before.
func (f *maker) end(before time.Time) {
	n := 0
	for ; n < len(f.staying) && f.staying[n].since.Before(before); n++ {
		_ = syscall.Close(f.staying[n].fd)
	}
	f.staying = f.staying[n:]
}
