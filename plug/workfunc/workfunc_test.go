package workfunc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/plug/workfunc"
)

// stand is a worker whose units read what they are to do from their payload.
type stand struct {
	*testing.T
	dir    string
	worker *workfunc.Worker
	runs   chan string
	ends   chan wire.Unit
}

func newStand(t *testing.T) *stand {
	s := &stand{T: t, dir: t.TempDir(), runs: make(chan string, 10), ends: make(chan wire.Unit, 10)}
	s.open()
	return s
}

func (s *stand) open() {
	s.Helper()
	w, err := workfunc.Open(filepath.Join(s.dir, "ledger"), func(u wire.Unit) {
		if u.State != wire.UnitRunning {
			s.ends <- u
		}
	}, s.run)
	if err != nil {
		s.Fatal(err)
	}
	s.worker = w
	s.Cleanup(func() { _ = w.Close() })
}

func (s *stand) run(ctx context.Context, u *workfunc.Unit) error {
	s.runs <- u.Unit
	payload, err := io.ReadAll(u.Stdin)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(u, "out %s", payload); err != nil {
		return err
	}
	if _, err := fmt.Fprint(u.Errors(), "err"); err != nil {
		return err
	}
	switch string(payload) {
	case "wait":
		<-ctx.Done()
		return ctx.Err()
	case "stubborn":
		for {
			if _, err := u.Write([]byte(".")); err != nil {
				return err
			}
		}
	case "fail":
		return errors.New("it did not go well")
	case "exit":
		return workfunc.Exit(7)
	}
	return nil
}

// start starts a unit with that payload.
func (s *stand) start(unit, payload string, merged bool) wire.Unit {
	s.Helper()
	open := func(name string, flag int) *os.File {
		f, err := os.OpenFile(filepath.Join(s.dir, unit+name), flag, 0o600)
		if err != nil {
			s.Fatal(err)
		}
		return f
	}
	if err := os.WriteFile(filepath.Join(s.dir, unit+"in"), []byte(payload), 0o600); err != nil {
		s.Fatal(err)
	}
	const write = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	st := plug.StartUnit{Start: wire.Start{Unit: unit, Type: "t", Merged: merged}, Stdin: open("in", os.O_RDONLY), Stdout: open("out", write)}
	if !merged {
		st.Stderr = open("err", write)
	}
	u, err := s.worker.Start(s.Context(), st)
	if err != nil {
		s.Fatal(err)
	}
	return u
}

func (s *stand) read(name string) string {
	s.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// recovered is what the worker says of a unit; empty: nothing.
func (s *stand) recovered(unit string) string {
	s.Helper()
	all, err := s.worker.Recover(s.Context(), []wire.KnownUnit{{Unit: unit}})
	if err != nil {
		s.Fatal(err)
	}
	if len(all) == 0 {
		return ""
	}
	return all[0].State
}

func TestEnds(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for i, c := range []struct {
		payload, reason string
		code            int
	}{{"go", "", 0}, {"fail", "it did not go well", 1}, {"exit", "", 7}} {
		unit := fmt.Sprint("unit", i)
		if u := s.start(unit, c.payload, i == 0); u.State != wire.UnitRunning || u.Unit != unit {
			t.Errorf("%s: started as %+v", c.payload, u)
		}
		<-s.runs
		end := <-s.ends
		if end.Unit != unit || end.State != wire.UnitExited || end.Exit == nil || end.Exit.Code != c.code || end.Reason != c.reason {
			t.Errorf("%s: %+v, %+v", c.payload, end, end.Exit)
		}
		out, stderr := "out "+c.payload, "err"
		if i == 0 {
			out, stderr = out+stderr, ""
		} else if got := s.read(unit + "err"); got != stderr {
			t.Errorf("%s: stderr %q", c.payload, got)
		}
		if got := s.read(unit + "out"); got != out || end.OutBytes != int64(len(out)) || end.ErrBytes != int64(len(stderr)) {
			t.Errorf("%s: stdout %q, %d and %d bytes", c.payload, got, end.OutBytes, end.ErrBytes)
		}
		// Once more is the same unit, and no run.
		if u := s.start(unit, c.payload, false); u.State != wire.UnitExited || u.Exit.Code != c.code {
			t.Errorf("%s: started again as %+v", c.payload, u)
		}
	}
	if len(s.runs) != 0 {
		t.Errorf("%s was run twice", <-s.runs)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.start("polite", "wait", false)
	s.start("rude", "stubborn", false)
	<-s.runs
	<-s.runs
	for unit, grace := range map[string]time.Duration{"polite": time.Hour, "rude": time.Millisecond, "unknown": 0} {
		if err := s.worker.Stop(t.Context(), unit, grace); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if end := <-s.ends; end.State != wire.UnitExited || end.Exit.Code != 1 || end.Reason == "" {
			t.Errorf("stopped: %+v", end)
		}
	}
}

func TestReleaseForgets(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.start("runs", "wait", false)
	s.start("ended", "go", false)
	<-s.ends
	for _, unit := range []string{"runs", "ended", "unknown", "../ledger", ""} {
		if err := s.worker.Release(t.Context(), unit); err != nil {
			t.Errorf("%q: %v", unit, err)
		}
	}
	if err := s.worker.Close(); err != nil { // waits for the one that ran
		t.Fatal(err)
	}
	s.open()
	for _, unit := range []string{"runs", "ended", "unknown", "../ledger"} {
		if got := s.recovered(unit); got != "" {
			t.Errorf("%s is %s after its release", unit, got)
		}
	}
}

// What ran when the process died is lost, and never run again.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.start("ended", "exit", false)
	<-s.ends
	s.start("ran", "go", false)
	<-s.ends
	if _, err := workfunc.Open(filepath.Join(s.dir, "ledger"), nil, nil); !errors.Is(err, socket.ErrLocked) {
		t.Errorf("a second worker: %v", err)
	}
	if err := s.worker.Close(); err != nil {
		t.Fatal(err)
	}
	// As a process leaves it that dies while the unit runs.
	if err := os.WriteFile(filepath.Join(s.dir, "ledger", "ran"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for len(s.runs) > 0 {
		<-s.runs
	}
	s.open()
	if got := s.recovered("ended"); got != wire.UnitExited {
		t.Errorf("what had ended is %q", got)
	}
	if got := s.recovered("ran"); got != wire.UnitLost {
		t.Errorf("what ran is %q", got)
	}
	if u := s.start("ran", "go", false); u.State != wire.UnitLost || len(s.runs) != 0 {
		t.Errorf("what ran, started again, is %+v", u)
	}
}

func TestBadUnit(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, unit := range []string{"", "../x", "a.b", "lock.lock"} {
		_, err := s.worker.Start(t.Context(), plug.StartUnit{Start: wire.Start{Unit: unit}})
		if told := (*wire.Error)(nil); !errors.As(err, &told) || told.Code != wire.CodeInvalid {
			t.Errorf("%q: %v", unit, err)
		}
	}
}
