package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/project-receptor/receptor/netceptor/control"
)

// A program that talks to itself is local. The code of an error is that of whatever
// has one.
func TestInside(t *testing.T) {
	t.Parallel()
	s := control.New(control.Config{NodeID: "alpha"})
	s.Register(control.Command{Name: "show", Own: func(_ context.Context, s control.Session, _ json.RawMessage, _ func(any) error) (any, error) {
		return nil, fmt.Errorf("local %v: %w", s.Local(), coded{})
	}})
	l := control.NewInside()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()

	c, err := l.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); line != "Receptor Control, node alpha\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := fmt.Fprintln(c, `{"v":1,"id":1,"command":"show"}`); err != nil {
		t.Fatal(err)
	}
	want := `{"id":1,"error":{"code":"of its own","msg":"local true: it has a code"}}` + "\n"
	if line, err := in.ReadString('\n'); line != want {
		t.Errorf("got %q, %v; want %q", line, err, want)
	}

	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("the conversation has outlived its server")
	}
	if _, err := l.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial after the end: %v", err)
	}
	// Nobody serves: whoever waits can give up.
	if _, err := control.NewInside().Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("dial of nobody: %v", err)
	}
}

type coded struct{}

func (coded) Error() string     { return "it has a code" }
func (coded) ErrorCode() string { return "of its own" }
