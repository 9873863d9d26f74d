package workceptor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// settle is ten times what anything here takes.
const settle = 20 * time.Second

// node is a workceptor with a worker, over restarts.
type node struct {
	*workceptor.Workceptor
	t      *testing.T
	worker *workertest.Worker
	types  []workceptor.WorkType
	config workceptor.Config
}

func newNode(t *testing.T, worker *workertest.Worker, types ...workceptor.WorkType) *node {
	t.Helper()
	if len(types) == 0 {
		types = []workceptor.WorkType{{Name: "echo", Params: true}}
	}
	n := &node{t: t, worker: worker, types: types}
	n.config = workceptor.Config{Dir: t.TempDir() + "/units", NodeID: "alpha", Reserve: 1}
	n.open()
	t.Cleanup(func() {
		n.close()
		worker.Wait()
	})
	return n
}

func (n *node) open() {
	n.t.Helper()
	w, err := workceptor.New(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.Workceptor = w
	n.attach()
}

func (n *node) attach() {
	n.t.Helper()
	if _, err := n.worker.Attach(n.Workceptor, n.types...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) close() {
	n.t.Helper()
	n.worker.Detach()
	if err := n.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *node) submit(r workceptor.Request, payload string) workceptor.Status {
	n.t.Helper()
	s, err := n.Submit(r)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := s.Write([]byte(payload)); err != nil {
		n.t.Fatal(err)
	}
	u, err := s.Commit(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return u
}

// until waits for a unit to be as it should.
func (n *node) until(id string, what string, ok func(workceptor.Status) bool) workceptor.Status {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), settle)
	defer cancel()
	found := errors.New("found")
	var last workceptor.Status
	err := n.Watch(ctx, 0, func(changed []workceptor.Status, _ uint64) error {
		for _, u := range changed {
			if u.ID == id {
				last = u
				if ok(u) {
					return found
				}
			}
		}
		return nil
	})
	if !errors.Is(err, found) {
		n.t.Fatalf("unit %s does not become %s: %+v", id, what, last)
	}
	return last
}

func (n *node) untilState(id string, want workceptor.State) workceptor.Status {
	n.t.Helper()
	return n.until(id, string(want), func(u workceptor.Status) bool { return u.State == want })
}

// results reads all that a unit writes.
func (n *node) results(id string, from workceptor.From) (out, stderr string, end workceptor.Status) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), settle)
	defer cancel()
	var both [2]bytes.Buffer
	end, err := n.Results(ctx, id, from, func(c workceptor.Chunk) error {
		i, at := 0, from.Stdout
		if c.Stream == workceptor.Stderr {
			i, at = 1, from.Stderr
		}
		if c.Offset != at+int64(both[i].Len()) {
			n.t.Errorf("%s: a chunk at %d after %d bytes from %d", c.Stream, c.Offset, both[i].Len(), at)
		}
		both[i].Write(c.Data)
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return both[0].String(), both[1].String(), end
}

func sum(s string) workceptor.Output {
	h := sha256.Sum256([]byte(s))
	return workceptor.Output{Size: int64(len(s)), SHA256: hex.EncodeToString(h[:])}
}

func TestUnitRuns(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	payload := strings.Repeat("payload\n", 50_000)
	u := n.submit(workceptor.Request{Type: "echo", Params: map[string]string{"params": "-n", "secret_k": "s3cret"}}, payload)
	out, stderr, end := n.results(u.ID, workceptor.From{})
	if out != payload || stderr != "" || end.State != workceptor.Succeeded || end.Stdin != sum(payload) || end.Stdout != sum(payload) || end.Stderr != sum("") {
		t.Errorf("%d bytes, %q, %+v", len(out), stderr, end)
	}
	if end.Params["params"] != "-n" || len(end.Params) != 1 {
		t.Errorf("shows the parameters %v", end.Params)
	}
	if tail, _, _ := n.results(u.ID, workceptor.From{Stdout: int64(len(payload)) - 3, Stderr: workceptor.Skip}); tail != "ad\n" {
		t.Errorf("from near the end: %q", tail)
	}
	if none, _, _ := n.results(u.ID, workceptor.From{Stdout: 1 << 40}); none != "" {
		t.Errorf("from beyond the end: %q", none)
	}
	if released, err := n.Release(t.Context(), u.ID, false); !released || err != nil {
		t.Error(released, err)
	}
	if _, err := n.Get(u.ID); !errors.Is(err, workceptor.ErrReleased) {
		t.Error(err)
	}
	n.until(u.ID, "released", func(u workceptor.Status) bool { return u.Released })
}

func TestEndsOfUnits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		exit   workceptor.Exit
		refuse error
		state  workceptor.State
		detail string
	}{
		{"exit 3", workceptor.Exit{Code: 3}, nil, workceptor.Failed, "exit status 3"},
		{"killed", workceptor.Exit{Signal: "SIGKILL", OOMKilled: true}, nil, workceptor.Failed, "signal: killed"},
		{"refused", workceptor.Exit{}, errors.New("no such command"), workceptor.Failed, "Error starting worker: no such command"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, &workertest.Worker{
				Run:     func(*workertest.Unit) workceptor.Exit { return test.exit },
				OnStart: func(workceptor.Start) error { return test.refuse },
			})
			u := n.submit(workceptor.Request{Type: "echo"}, "")
			_, _, end := n.results(u.ID, workceptor.From{})
			if end.State != test.state || end.Detail != test.detail || end.Exit != nil && *end.Exit != test.exit {
				t.Errorf("%+v", end)
			}
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{}, workceptor.WorkType{Name: "fixed"})
	for _, test := range []struct {
		r    workceptor.Request
		want error
	}{
		{workceptor.Request{Type: "nope"}, workceptor.ErrUnknownType},
		{workceptor.Request{Type: "fixed", Params: map[string]string{"params": "x"}}, workceptor.ErrInvalid},
		{workceptor.Request{Type: "fixed", Submission: strings.Repeat("x", 200)}, workceptor.ErrInvalid},
	} {
		if _, err := n.Submit(test.r); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test.r, err)
		}
	}
	if all := n.List(); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// Followers get what a unit writes when it writes it, each stream apart, and all of it.
func TestFollowers(t *testing.T) {
	t.Parallel()
	steps := make(chan string)
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		for s := range steps {
			if _, err := u.Write([]byte(s + "\n")); err != nil {
				return workceptor.Exit{Code: 1}
			}
			if _, err := u.WriteErr([]byte("!" + s + "\n")); err != nil {
				return workceptor.Exit{Code: 1}
			}
		}
		return workceptor.Exit{}
	}})
	u := n.submit(workceptor.Request{Type: "echo"}, "")
	const followers = 10
	var all sync.WaitGroup
	seen := make(chan int, 1000)
	for f := range followers {
		all.Go(func() {
			var got [2]strings.Builder
			end, err := n.Results(t.Context(), u.ID, workceptor.From{Stdout: int64(f % 2)}, func(c workceptor.Chunk) error {
				i := 0
				if c.Stream == workceptor.Stderr {
					i = 1
				}
				got[i].Write(c.Data)
				if i == 1 {
					seen <- strings.Count(got[1].String(), "\n")
				}
				return nil
			})
			if err != nil || end.State != workceptor.Succeeded || got[0].String() != "0\n1\n2\n"[f%2:] || got[1].String() != "!0\n!1\n!2\n" {
				t.Errorf("follower %d: %q, %q, %v, %v", f, got[0].String(), got[1].String(), end.State, err)
			}
			// Whoever followed it has also measured it.
			if end.Stdout != sum("0\n1\n2\n") || end.Stderr != sum("!0\n!1\n!2\n") {
				t.Errorf("follower %d: measured %+v and %+v", f, end.Stdout, end.Stderr)
			}
		})
	}
	for step := range 3 {
		steps <- fmt.Sprint(step)
		for have := 0; have < followers; { // nobody waits for the next step
			if <-seen == step+1 {
				have++
			}
		}
	}
	if s, err := n.Get(u.ID); err != nil || s.Stdout.Size != 6 || s.Stderr.Size != 9 {
		t.Errorf("while it runs: %+v, %v", s, err)
	}
	close(steps)
	all.Wait()
}

func TestMergedOutputIsOneStream(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		for range 3 {
			_, _ = u.Write([]byte("out\n"))
			_, _ = u.WriteErr([]byte("err\n"))
		}
		return workceptor.Exit{}
	}})
	u := n.submit(workceptor.Request{Type: "echo", Merged: true}, "")
	if out, stderr, end := n.results(u.ID, workceptor.From{}); out != "out\nerr\nout\nerr\nout\nerr\n" || stderr != "" || end.Stdout != sum(out) {
		t.Errorf("%q, %q, %+v", out, stderr, end.Stdout)
	}
}

// gate is what units wait for, and what opens it, to be deferred as well: a unit that
// waits would keep a test that has failed.
func gate() (let chan struct{}, open func()) {
	let = make(chan struct{})
	return let, sync.OnceFunc(func() { close(let) })
}

// blocking runs until its end is wanted, or it is let go.
func blocking(let <-chan struct{}) func(u *workertest.Unit) workceptor.Exit {
	return func(u *workertest.Unit) workceptor.Exit {
		select {
		case <-u.Stopped:
			return workceptor.Exit{Signal: "SIGINT"}
		case <-let:
			return workceptor.Exit{}
		}
	}
}

func TestSlotsAndQueue(t *testing.T) {
	t.Parallel()
	let, over := gate()
	defer over()
	n := newNode(t, &workertest.Worker{Run: blocking(let)}, workceptor.WorkType{Name: "echo", Slots: 2})
	var ids []string
	for i := range 5 {
		u := n.submit(workceptor.Request{Type: "echo"}, "")
		ids = append(ids, u.ID)
		if i < 2 && u.State != workceptor.Running || i >= 2 && (u.State != workceptor.Pending || u.Position != i-1) {
			t.Fatalf("unit %d is %s at %d", i, u.State, u.Position)
		}
	}
	if types := n.WorkTypes(); len(types) != 1 || types[0] != (workceptor.TypeStatus{Name: "echo", Worker: "test", Slots: 2, Busy: 2, Queued: 3}) {
		t.Errorf("%+v", types)
	}
	// A canceled one leaves the queue, the others move up; a restart keeps the order.
	if ended, err := n.Cancel(t.Context(), ids[2]); !ended || err != nil {
		t.Fatal(ended, err)
	}
	n.close()
	n.open()
	if u, err := n.Get(ids[4]); err != nil || u.Position != 2 {
		t.Errorf("after a restart: at %d, %v", u.Position, err)
	}
	if ended, err := n.Cancel(t.Context(), ids[0]); !ended || err != nil {
		t.Fatal(ended, err)
	}
	n.untilState(ids[3], workceptor.Running)
	if u, err := n.Get(ids[4]); err != nil || u.Position != 1 {
		t.Errorf("at %d, %v", u.Position, err)
	}
	over()
	for i, id := range ids {
		want, runs := workceptor.Succeeded, 1
		switch i {
		case 0:
			want = workceptor.Canceled
		case 2:
			want, runs = workceptor.Canceled, 0
		}
		n.untilState(id, want)
		if got := n.worker.Runs(id); got != runs {
			t.Errorf("unit %d ran %d times", i, got)
		}
	}
}

func TestCancelAndRelease(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: blocking(nil)})
	u := n.submit(workceptor.Request{Type: "echo"}, "")
	if ended, err := n.Cancel(t.Context(), u.ID); !ended || err != nil {
		t.Error(ended, err)
	}
	_, _, end := n.results(u.ID, workceptor.From{}) // which ends
	if end.State != workceptor.Canceled || end.Exit == nil || end.Exit.Signal != "SIGINT" {
		t.Errorf("%+v", end)
	}
	if ended, err := n.Cancel(t.Context(), u.ID); !ended || err != nil {
		t.Error("a second time:", ended, err)
	}
	running := n.submit(workceptor.Request{Type: "echo"}, "")
	if released, err := n.Release(t.Context(), running.ID, false); !released || err != nil {
		t.Error(released, err)
	}
	forced := n.submit(workceptor.Request{Type: "echo"}, "")
	if released, err := n.Release(t.Context(), forced.ID, true); !released || err != nil {
		t.Error(released, err)
	}
	n.worker.Wait()
	for _, id := range []string{"unknown1", running.ID, forced.ID} {
		if _, err := n.Cancel(t.Context(), id); !errors.Is(err, workceptor.ErrUnknownUnit) && !errors.Is(err, workceptor.ErrReleased) {
			t.Errorf("cancel of %s: %v", id, err)
		}
	}
}

// While the worker is away a wish is kept, over a restart of the node, too.
func TestWishesWaitForTheWorker(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: blocking(nil)})
	canceled := n.submit(workceptor.Request{Type: "echo"}, "")
	released := n.submit(workceptor.Request{Type: "echo"}, "")
	n.worker.Detach()
	if ended, err := n.Cancel(t.Context(), canceled.ID); ended || err != nil {
		t.Error(ended, err)
	}
	if done, err := n.Release(t.Context(), released.ID, false); done || err != nil {
		t.Error(done, err)
	}
	queued := n.submit(workceptor.Request{Type: "echo"}, "")
	if queued.Phase != "queued" {
		t.Errorf("without its worker a unit is %s", queued.Phase)
	}
	n.close()
	n.open()
	n.untilState(canceled.ID, workceptor.Canceled)
	n.until(released.ID, "released", func(u workceptor.Status) bool { return u.Released })
	n.untilState(queued.ID, workceptor.Running)
	if ended, err := n.Cancel(t.Context(), queued.ID); !ended || err != nil {
		t.Error(ended, err)
	}
}

// Units outlive the node, and what ended while it was away is known when the worker
// is back.
func TestUnitsOutliveTheNode(t *testing.T) {
	t.Parallel()
	let, over := gate()
	defer over()
	worker := &workertest.Worker{}
	worker.Run = func(u *workertest.Unit) workceptor.Exit {
		_, _ = u.Write([]byte("before,"))
		<-let
		_, _ = u.Write([]byte("after"))
		return workceptor.Exit{Code: 4}
	}
	n := newNode(t, worker)
	u := n.submit(workceptor.Request{Type: "echo"}, "")
	n.close()
	over()
	worker.Wait()
	n.open()
	out, _, end := n.results(u.ID, workceptor.From{})
	if out != "before,after" || end.State != workceptor.Failed || end.Exit.Code != 4 || end.Stdout != sum(out) {
		t.Errorf("%q, %+v", out, end)
	}
	if worker.Runs(u.ID) != 1 {
		t.Errorf("it ran %d times", worker.Runs(u.ID))
	}
}

func TestUnitThatNobodyKnowsIsLost(t *testing.T) {
	t.Parallel()
	let, over := gate()
	defer over()
	worker := &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		_, _ = u.Write([]byte("prefix"))
		<-let
		return workceptor.Exit{}
	}}
	n := newNode(t, worker)
	u := n.submit(workceptor.Request{Type: "echo"}, "")
	n.until(u.ID, "writing", func(s workceptor.Status) bool { s, _ = n.Get(s.ID); return s.State == workceptor.Running })
	n.close()
	other := &workertest.Worker{}
	n.worker = other
	n.open()
	out, _, end := n.results(u.ID, workceptor.From{})
	if end.State != workceptor.Lost || end.Detail != "Lost: its worker does not know it any more" || end.Stdout != sum(out) {
		t.Errorf("%q, %+v", out, end)
	}
	over()
	worker.Wait()
}

// A start whose answer is lost is not a second run.
func TestLostAnswerIsNoSecondRun(t *testing.T) {
	t.Parallel()
	worker := &workertest.Worker{}
	n := newNode(t, worker)
	n.worker.Detach()
	u := n.submit(workceptor.Request{Type: "echo"}, "x")
	lossy := n.Attach("lossy", lossyWorker{worker})
	if err := lossy.Offer(workceptor.WorkType{Name: "echo"}); err != nil {
		t.Fatal(err)
	}
	worker.Wait()
	n.until(u.ID, "starting", func(s workceptor.Status) bool { return s.Phase == "starting" })
	lossy.Detach()
	n.attach()
	if out, _, end := n.results(u.ID, workceptor.From{}); out != "x" || end.State != workceptor.Succeeded || worker.Runs(u.ID) != 1 {
		t.Errorf("%q, %s, %d runs", out, end.State, worker.Runs(u.ID))
	}
}

// lossyWorker starts units, and its answers are lost.
type lossyWorker struct{ *workertest.Worker }

func (l lossyWorker) Start(ctx context.Context, s workceptor.Start) (workceptor.Report, error) {
	if _, err := l.Worker.Start(ctx, s); err != nil {
		return workceptor.Report{}, err
	}
	return workceptor.Report{}, workceptor.ErrUnavailable
}

func TestSameSubmissionIsOneUnit(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	r := workceptor.Request{Type: "echo", Submission: "c0ffee"}
	cut, err := n.Submit(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cut.Write([]byte("half a pay")); err != nil {
		t.Fatal(err)
	}
	n.close() // nobody says goodbye
	n.open()
	if s, err := n.Get(cut.Unit.ID); err != nil || s.Phase != "receiving" {
		t.Fatalf("%+v, %v", s, err)
	}
	for range 3 {
		u := n.submit(r, "payload")
		if u.ID != cut.Unit.ID {
			t.Errorf("%s, then %s", cut.Unit.ID, u.ID)
		}
	}
	if out, _, _ := n.results(cut.Unit.ID, workceptor.From{}); out != "payload" {
		t.Errorf("%q", out)
	}
	if runs := n.worker.Runs(cut.Unit.ID); runs != 1 {
		t.Errorf("%d runs", runs)
	}
	// Without a name for it, nobody can send the rest.
	anonymous, err := n.Submit(workceptor.Request{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	n.open()
	if s := n.untilState(anonymous.Unit.ID, workceptor.Failed); s.Detail != "Pending at restart" {
		t.Errorf("%+v", s)
	}
	given, err := n.Submit(workceptor.Request{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	if err := given.Abort("the connection was lost"); err != nil {
		t.Fatal(err)
	}
	if s, err := n.Get(given.Unit.ID); err != nil || s.State != workceptor.Failed || s.Detail != "the connection was lost" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWorkersKeepToTheirTypes(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: blocking(nil)})
	u := n.submit(workceptor.Request{Type: "echo"}, "")
	other := n.Attach("other", &workertest.Worker{})
	defer other.Detach()
	if err := other.Offer(workceptor.WorkType{Name: "echo"}); err == nil || !strings.Contains(err.Error(), "offered by test") {
		t.Errorf("two workers offer a type: %v", err)
	}
	if err := other.Report(workceptor.Report{Unit: u.ID, State: workceptor.ReportExited}); err == nil {
		t.Error("a worker may tell of a unit that is not its own")
	}
	if err := other.Report(workceptor.Report{Unit: "../etc/x", State: workceptor.ReportExited}); err != nil {
		t.Errorf("of a unit that there is not: %v", err)
	}
	if s, err := n.Get(u.ID); err != nil || s.State != workceptor.Running {
		t.Errorf("%s, %v", s.State, err)
	}
	if _, err := n.Cancel(t.Context(), u.ID); err != nil {
		t.Error(err)
	}
}

func TestRetentionIsEnforced(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	var ids []string
	for range 3 {
		u := n.submit(workceptor.Request{Type: "echo"}, "x")
		ids = append(ids, n.untilState(u.ID, workceptor.Succeeded).ID)
	}
	n.close()
	n.config.Retention = workceptor.Retention{Count: 1}
	n.open()
	for _, id := range ids[:2] {
		n.until(id, "released", func(u workceptor.Status) bool { return u.Released })
	}
	if s, err := n.Get(ids[2]); err != nil || s.State != workceptor.Succeeded {
		t.Errorf("%+v, %v", s, err)
	}
}

// A worker that tells of a unit which was given to nobody yet is not believed, and the
// unit runs as if it had said nothing.
func TestReportTooEarly(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	s, err := n.Submit(workceptor.Request{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	id := s.Unit.ID
	n.worker.Detach()
	a, err := n.worker.Attach(n.Workceptor, n.types...)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []workceptor.ReportState{
		workceptor.ReportStarting, workceptor.ReportRunning, workceptor.ReportExited, workceptor.ReportRefused, workceptor.ReportLost,
	} {
		if err := a.Report(workceptor.Report{Unit: id, State: state, PID: 1}); err == nil {
			t.Errorf("a unit whose payload is not there is %s", state)
		}
	}
	if _, err := s.Write([]byte("payload")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.untilState(id, workceptor.Succeeded)
}
