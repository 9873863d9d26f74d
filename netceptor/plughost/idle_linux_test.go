package plughost

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

const idleStreams = 1000

// TestIdleStreamAllocs: what a stream that has carried something holds when it
// does not, at both nodes, which are in this process: heap and stacks after a
// collection. The applications are bare descriptors, and the plugs pass them on.
//
// Not parallel: it measures the process.
func TestIdleStreamAllocs(t *testing.T) {
	apps := make([]int, 0, 2*(idleStreams+1))
	defer func() {
		for _, fd := range apps {
			_ = syscall.Close(fd)
		}
	}()
	p := newGivers(t)
	far := make(chan int, 1)
	p.far.accept = func(context.Context, wire.Accept) (any, error) {
		app, f := bareApplication(t)
		far <- app
		return session.Answer{Body: wire.Accepted{}, Files: []*os.File{f}}, nil
	}
	open := func() {
		app, f := bareApplication(t)
		if _, err := p.near.give(wire.TypeDial, wire.Dial{Node: "beta", Service: "svc"}, f); err != nil {
			t.Fatal(err)
		}
		other := plugtest.Receive(t, far, "the far application")
		apps = append(apps, app, other)
		for _, way := range [][2]int{{app, other}, {other, app}} {
			var b [1]byte
			if _, err := syscall.Write(way[0], []byte{1}); err != nil {
				t.Fatal(err)
			}
			n, err := syscall.Read(way[1], b[:])
			for errors.Is(err, syscall.EINTR) { // the runtime's signals, while it blocks
				n, err = syscall.Read(way[1], b[:])
			}
			if n != 1 || err != nil {
				t.Fatalf("read %d bytes, %v", n, err)
			}
		}
	}
	open() // the first connection of the nodes, and whatever is made once
	before := inUse()
	for range idleStreams {
		open()
	}
	per := (inUse() - before) / idleStreams
	t.Logf("%d bytes for an open stream", per)
	if per > idleStreamBytes {
		t.Errorf("%d bytes for an open stream, want at most %d", per, idleStreamBytes)
	}
}

// inUse is the memory of heap and stacks that is in use.
func inUse() int {
	runtime.GC()
	runtime.GC() // of pools, too
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// bareApplication is an application's socket of which this process knows no more
// than the descriptor, and what is given of it.
func bareApplication(t *testing.T) (app int, given *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	patience := syscall.NsecToTimeval(plugtest.Patience.Nanoseconds())
	if err := syscall.SetsockoptTimeval(fds[0], syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience); err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	return fds[0], os.NewFile(uintptr(fds[1]), "given")
}
