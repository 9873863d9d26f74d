//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// mesh is a victim, all of whose programs are apart, and a healthy neighbour that
// has come in by the same listener as the junk does.
type mesh struct {
	medium string
	link   string // the victim's listener
	entry  string // at the neighbour: of streams to the sink behind the victim
	sink   net.Listener
	procs  map[string]int
}

// startMesh starts both and waits until a stream can pass.
func startMesh(ctx context.Context, l *lab.Lab, medium string) (*mesh, error) {
	link, err := lab.FreePort()
	entry, err2 := lab.FreePort()
	sink, err3 := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	m := &mesh{medium: medium, link: lab.Local(link), entry: lab.Local(entry), sink: sink, procs: map[string]int{}}
	kind, program := "--tcp-listener", "receptor-backend-tcp"
	var more []string
	switch medium {
	case "tcp":
	case "ws":
		kind, program, more = "--ws-listener", "receptor-backend-ws", []string{"path=/mesh"}
	default:
		return nil, fmt.Errorf("links over %q are not known here", medium)
	}
	items := append([]string{"--node", "id=victim", kind, "port=" + strconv.Itoa(link), "bindaddr=127.0.0.1"}, more...)
	for name, args := range map[string][]string{
		"receptor-core":      append(items, "--tcp-client", "service=sink", "address="+sink.Addr().String()),
		program:              {"--socket", l.PlugSocket("victim")},
		"receptor-proxy-tcp": {"--socket", l.PlugSocket("victim")},
	} {
		p, err := l.Start(name, args...)
		if err != nil {
			return nil, err
		}
		m.procs[strings.TrimPrefix(name, "receptor-")] = p.PID()
	}
	items = append(m.peer("healthy"), "--tcp-server", "port="+strconv.Itoa(entry), "bindaddr=127.0.0.1", "remotenode=victim", "remoteservice=sink")
	healthy, err := l.Start("receptor-core", items...)
	if err != nil {
		return nil, err
	}
	m.procs["neighbour"] = healthy.PID()
	for _, name := range []string{program, "receptor-proxy-tcp"} { // which hand over what they have, or take little
		if _, err := l.Start(name, "--socket", l.PlugSocket("healthy")); err != nil {
			return nil, err
		}
	}
	if err := l.WaitRoute(ctx, "healthy", "victim"); err != nil {
		return nil, err
	}
	return m, l.WaitStatus(ctx, "victim", func(st *lab.Status) bool { return st.Item("tcp-client service=sink").State == "up" })
}

// peer is the items of a node that dials the victim.
func (m *mesh) peer(id string) []string {
	items := []string{"--node", "id=" + id}
	if m.medium == "ws" {
		return append(items, "--ws-peer", "address=ws://"+m.link+"/mesh")
	}
	return append(items, "--tcp-peer", "address="+m.link)
}

// names are those of the processes whose CPU is told.
func (m *mesh) names() []string {
	var names []string
	for name := range m.procs {
		names = append(names, name)
	}
	slices.Sort(names)
	return append(names, "stranger", "maker", "ends")
}

// pids are all of them. f may be nil.
func (m *mesh) pids(stranger, f *child) map[string]int {
	pids := map[string]int{"stranger": stranger.PID(), "ends": os.Getpid()}
	for name, pid := range m.procs {
		pids[name] = pid
	}
	if f != nil {
		pids["maker"] = f.PID()
	}
	return pids
}

func cpuOf(pids map[string]int) (map[string]float64, error) {
	used := map[string]float64{}
	for name, pid := range pids {
		var err error
		if used[name], err = lab.CPUSeconds(pid); err != nil {
			return nil, err
		}
	}
	return used, nil
}

// transfer is a stream that is written without a pause.
type transfer struct {
	from, to net.Conn
	bytes    atomic.Int64 // that have arrived
	failed   atomic.Pointer[error]
}

func startTransfer(ctx context.Context, entry string, sink net.Listener) (*transfer, error) {
	from, err := lab.DialWait(ctx, entry)
	if err != nil {
		return nil, err
	}
	to, err := sink.Accept()
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	x := &transfer{from: from, to: to}
	fail := func(err error) { x.failed.CompareAndSwap(nil, &err) }
	go func() {
		b := make([]byte, 128<<10)
		for {
			if _, err := from.Write(b); err != nil {
				fail(err)
				return
			}
		}
	}()
	go func() {
		b := make([]byte, 128<<10)
		for {
			n, err := to.Read(b)
			x.bytes.Add(int64(n))
			if err != nil {
				fail(fmt.Errorf("after %d bytes: %w", x.bytes.Load(), err))
				return
			}
		}
	}()
	return x, nil
}

// err is what has gone wrong.
func (x *transfer) err() error {
	if err := x.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (x *transfer) close() {
	for _, c := range []io.Closer{x.from, x.to} {
		_ = c.Close()
	}
}
