package workceptor_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// A unit whose payload finds no room when its turn comes waits, and runs once there is
// some. Before, it had failed.
func TestUnitWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-let
		return workertest.Echo(u)
	}}, workceptor.WorkType{Name: "echo", Slots: 1})
	first := n.submit(workceptor.Request{Type: "echo"}, "first")
	n.untilState(first.ID, workceptor.Running)
	u := n.submit(workceptor.Request{Type: "echo"}, "second")
	dir := filepath.Join(n.config.Dir, u.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// A file of the device full is a full disk, until what could not be written is removed.
	if err := syscall.Mknod(filepath.Join(dir, "stdin.tmp"), syscall.S_IFCHR|0o600, 1<<8|7); err != nil {
		t.Skipf("skipped: needs the rights of root, to make a device: %v", err)
	}
	close(let)
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
