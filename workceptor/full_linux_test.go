package workceptor_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// full has the payload of a unit find no room once: a file of the device full has none,
// and what could not be written is removed.
func (n *node) full(id string) {
	n.t.Helper()
	dir := filepath.Join(n.config.Dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	file := filepath.Join(dir, "stdin.tmp")
	if err := syscall.Mknod(file, syscall.S_IFCHR|0o600, 1<<8|7); err != nil {
		n.t.Skipf("skipped: needs the rights of root, to make a device: %v", err)
	}
	if f, err := os.OpenFile(file, os.O_WRONLY, 0); err != nil {
		n.t.Skipf("skipped: needs a file system with devices: %v", err)
	} else if err := f.Close(); err != nil {
		n.t.Fatal(err)
	}
}

// A unit whose payload finds no room when its turn comes waits, and runs once there is
// some. Before, it had failed.
func TestUnitWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	let, over := gate()
	defer over()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-let
		return workertest.Echo(u)
	}}, workceptor.WorkType{Name: "echo", Slots: 1})
	first := n.submit(workceptor.Request{Type: "echo"}, "first")
	n.untilState(first.ID, workceptor.Running)
	u := n.submit(workceptor.Request{Type: "echo"}, "second")
	n.full(u.ID)
	over()
	n.untilState(u.ID, workceptor.Succeeded)
	out, _, end := n.results(u.ID, workceptor.From{})
	if out != "second" || n.worker.Runs(u.ID) != 1 {
		t.Errorf("%q after %d runs: %+v", out, n.worker.Runs(u.ID), end)
	}
	back := 0
	for _, c := range end.History {
		if c.What == "returned" {
			back++
		}
	}
	if back != 1 {
		t.Errorf("it was to wait once: %+v", end.History)
	}
}

// Likewise where it is for another node, which may have it already.
func TestRemoteUnitWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	u := m.unlucky()
	m.alpha.full(u.ID)
	m.set(func() { m.cut = nil })
	m.restart(m.alpha)
	out, _, end := m.alpha.results(u.ID, workceptor.From{})
	if out != "payload" || end.State != workceptor.Succeeded || m.beta.worker.Runs(end.RemoteUnit) != 1 {
		t.Errorf("%q, %+v", out, end)
	}
	m.forgotten()
}
