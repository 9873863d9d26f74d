package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// A unit is submitted, what it writes is printed as it is written, and it is released.
func Example() {
	node, stop := shoutingNode()
	defer stop()
	c := client.Client{Dial: node.dial} // client.DialUnix(path) for a program's own node
	ctx := context.Background()

	unit, err := c.Submit(ctx, client.Job{Type: "shout", Payload: strings.NewReader("one\ntwo\n")})
	switch {
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrDraining), errors.Is(err, client.ErrNoRoom):
		fmt.Println("later, or on another node:", err)
		return
	case err != nil:
		fmt.Println("it cannot be done:", err)
		return
	}
	var end client.Status
	for r, err := range c.Responses(ctx, unit.ID, client.From{}, &end) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s\n", r.Stream, r.Line)
	}
	fmt.Println(end.State, end.Detail)
	released, err := c.Release(ctx, unit.ID, false)
	fmt.Println("released:", released, err)
	// Output:
	// stdout: ONE
	// stdout: TWO
	// succeeded exit status 0
	// released: true <nil>
}

// A watcher hears of every change, and can go on after Seq when it comes back.
func ExampleClient_Watch() {
	node, stop := shoutingNode()
	defer stop()
	c := client.Client{Dial: node.dial}
	ctx := context.Background()

	unit, err := c.Submit(ctx, client.Job{Type: "shout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range c.Watch(ctx, client.WatchOptions{Unit: unit.ID}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if u := e.Units[0]; u.State.Final() {
			fmt.Println(u.State)
			break
		}
	}
	// Output:
	// succeeded
}

// shoutingNode is a node for examples, whose units write their payload in capitals.
func shoutingNode() (n *node, stop func()) {
	dir, err := os.MkdirTemp("", "units")
	if err != nil {
		panic(err)
	}
	worker := &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		payload, err := io.ReadAll(u.Stdin)
		if err == nil {
			_, err = u.Write(bytes.ToUpper(payload))
		}
		if err != nil {
			panic(err)
		}
		return workceptor.Exit{}
	}}
	n = &node{
		t: exampleTB{}, worker: worker, types: []workceptor.WorkType{{Name: "shout"}},
		config: workceptor.Config{Dir: filepath.Join(dir, "units"), NodeID: "alpha", Reserve: 1},
	}
	n.start()
	return n, func() {
		n.stop()
		worker.Wait()
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
	}
}

// exampleTB is for helpers of tests, in examples.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()           {}
func (exampleTB) Error(args ...any) { panic(fmt.Sprint(args...)) }
func (exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
