package workceptor_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	offers := make(chan []workceptor.TypeStatus, 10)
	let, over := gate()
	defer over()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		if u.Params["params"] == "short" {
			<-let
			return workceptor.Exit{}
		}
		<-u.Stopped
		return workceptor.Exit{Signal: "SIGTERM"}
	}})
	n.config.Offers = func(types []workceptor.TypeStatus) { offers <- types }
	n.close()
	n.open()
	until := func(what string, count int) {
		t.Helper()
		for {
			select {
			case types := <-offers:
				if len(types) == count {
					return
				}
			case <-time.After(settle):
				t.Fatalf("the mesh is not told of %s", what)
			}
		}
	}
	until("the type", 1)
	old := n.submit(workceptor.Request{Type: "echo", Submission: "old", Params: map[string]string{"params": "short"}}, "")
	long := n.submit(workceptor.Request{Type: "echo"}, "")

	n.Drain(0)
	until("the drain", 0)
	if _, err := n.Submit(workceptor.Request{Type: "echo"}); !errors.Is(err, workceptor.ErrDraining) {
		t.Errorf("new work: %v", err)
	}
	if again, err := n.Submit(workceptor.Request{Type: "echo", Submission: "old"}); err != nil || !again.Existing || again.Unit.ID != old.ID {
		t.Errorf("work that was taken before: %+v, %v", again, err)
	} else if err := again.Abort("enough"); err != nil {
		t.Error(err)
	}
	if d := n.Draining(); d == nil || d.Left != 2 || !d.Deadline.IsZero() {
		t.Errorf("%+v", d)
	}
	over()
	n.untilState(old.ID, workceptor.Succeeded)
	if d := n.Draining(); d.Left != 1 {
		t.Errorf("%+v", d)
	}

	n.Drain(time.Millisecond)
	n.untilState(long.ID, workceptor.Canceled)
	if d := n.Draining(); d.Left != 0 || d.Deadline.IsZero() {
		t.Errorf("%+v", d)
	}

	n.Undrain()
	until("the end of it", 1)
	if u := n.submit(workceptor.Request{Type: "echo", Params: map[string]string{"params": "short"}}, ""); u.State == workceptor.Failed || n.Draining() != nil {
		t.Errorf("%+v", u)
	}
}

// Only who is at the node may drain it.
func TestDrainCommand(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	for _, test := range []struct {
		local     bool
		args      string
		want      string
		isDrained bool
	}{
		{false, `"drain"`, `only`, false},
		{true, `"drain","deadline":"soon"`, `not a duration`, false},
		{true, `"drain","deadline":"1h"`, `"deadline"`, true},
		{false, `"undrain"`, `only`, true},
		{true, `"undrain"`, `null`, false},
	} {
		c := converse(t, n, test.local)
		c.send(`{"v":1,"id":1,"command":"work","args":{"subcommand":` + test.args + "}}\n")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := c.rest(); !strings.Contains(got, test.want) || (n.Draining() != nil) != test.isDrained {
			t.Errorf("%s, local %v: %s, drained %v", test.args, test.local, got, n.Draining() != nil)
		}
	}
}
