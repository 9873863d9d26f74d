package client_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/internal/frame"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// within bounds a test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	t.Cleanup(cancel)
	return ctx
}

// both are a unit's outputs, as they were received.
type both struct{ out, stderr bytes.Buffer }

func (b *both) add(c client.Chunk) error {
	to := &b.out
	if c.Stream == client.Stderr {
		to = &b.stderr
	}
	if int64(to.Len()) != c.Offset {
		return fmt.Errorf("a piece of %s at %d after %d bytes", c.Stream, c.Offset, to.Len())
	}
	to.Write(c.Data)
	return nil
}

// Wherever a submission is cut, it becomes one unit, with the whole payload, run once.
func TestSubmitCutEverywhere(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	ctx := within(t)
	everywhere(t, n.dial, 5, func(t *testing.T, c *client.Client, cut int) {
		payload := strings.NewReader("not this. payload of " + fmt.Sprint(cut))
		if _, err := payload.Seek(10, io.SeekStart); err != nil {
			t.Error(err)
		}
		u, err := c.Submit(ctx, client.Job{Type: "echo", Payload: payload})
		if err != nil {
			t.Errorf("cut at %d: %v", cut, err)
			return
		}
		var got both
		end, err := c.Results(ctx, u.ID, client.From{}, got.add)
		if err != nil || end.State != client.Succeeded || got.out.String() != "payload of "+fmt.Sprint(cut) || n.worker.Runs(u.ID) != 1 {
			t.Errorf("cut at %d: %v: %q, %s, run %d times", cut, err, &got.out, end.State, n.worker.Runs(u.ID))
		}
	})
	for _, u := range n.work.List() {
		if u.State != client.Succeeded {
			t.Errorf("unit %s is %s: there is more than was submitted", u.ID, u.State)
		}
	}
}

// A payload of many frames is sent again, as a whole.
func TestSubmitLargeCut(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	ctx := within(t)
	want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<14) // 256 KiB
	for _, cut := range []int{1 << 16, 1<<17 + 77, 1 << 18} {
		c := &cutter{dial: n.dial, left: cut}
		var sent []int64
		k := client.Client{Dial: c.open}
		u, err := k.Submit(ctx, client.Job{Type: "echo", Payload: bytes.NewReader(want), Progress: func(n int64) { sent = append(sent, n) }})
		if err != nil {
			t.Fatal(err)
		}
		var got both
		if _, err := k.Results(ctx, u.ID, client.From{}, got.add); err != nil || !bytes.Equal(got.out.Bytes(), want) {
			t.Errorf("cut at %d: %v: %d bytes of %d", cut, err, got.out.Len(), len(want))
		}
		again := cut < 1<<17 // then no frame got through at first
		for i := range sent[1:] {
			again = again || sent[i+1] <= sent[i]
		}
		if !again || sent[len(sent)-1] != int64(len(want)) {
			t.Errorf("progress: %v", sent)
		}
	}
}

// Results get on although no connection lasts for a whole frame.
func TestResultsOverShortConnections(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("much at once, "), 1000)
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		_, _ = u.Write(want)
		return workceptor.Exit{}
	}})
	ctx := within(t)
	whole := client.Client{Dial: n.dial}
	u, err := whole.Submit(ctx, client.Job{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whole.Results(ctx, u.ID, client.From{}, (&both{}).add); err != nil {
		t.Fatal(err)
	}
	k := client.Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		conn, err := n.dial(ctx)
		return struct {
			io.Reader
			io.WriteCloser
		}{io.LimitReader(conn, 3000), conn}, err
	}}
	var got both
	if _, err := k.Results(ctx, u.ID, client.From{}, got.add); err != nil || !bytes.Equal(got.out.Bytes(), want) {
		t.Errorf("%d bytes of %d: %v", got.out.Len(), len(want), err)
	}
}

// What was known of results before is checked with what comes, if it went through a hash.
func TestKnownResultsAreChecked(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		_, _ = u.Write([]byte("known and new"))
		return workceptor.Exit{}
	}})
	ctx := within(t)
	k := client.Client{Dial: n.dial}
	u, err := k.Submit(ctx, client.Job{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	for known, want := range map[string]error{"known": nil, "KNOWN": client.ErrDamaged} {
		h := sha256.New()
		h.Write([]byte(known))
		var got []byte
		_, err := k.Results(ctx, u.ID, client.From{Stdout: int64(len(known)), StdoutHash: h, Stderr: client.Skip}, func(c client.Chunk) error {
			got = append(got, c.Data...)
			return nil
		})
		if !errors.Is(err, want) || string(got) != " and new" {
			t.Errorf("after %q: %q, %v, want %v", known, got, err, want)
		}
	}
}

// Wherever results are cut, they go on at that byte, while they are written and after.
func TestResultsCutEverywhere(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		for i := range 10 {
			_, _ = fmt.Fprintf(u, "line %d\n", i)
		}
		_, _ = u.WriteErr([]byte("a warning\nand no end"))
		return workceptor.Exit{Code: 3}
	}})
	ctx := within(t)
	k := client.Client{Dial: n.dial}
	u, err := k.Submit(ctx, client.Job{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	var want both
	if _, err := k.Results(ctx, u.ID, client.From{}, want.add); err != nil {
		t.Fatal(err)
	}
	everywhere(t, n.dial, 2, func(t *testing.T, c *client.Client, cut int) {
		var got both
		end, err := c.Results(ctx, u.ID, client.From{}, got.add)
		if err != nil || end.State != client.Failed || end.Exit.Code != 3 || got.out.String() != want.out.String() || got.stderr.String() != want.stderr.String() {
			t.Errorf("cut at %d: %v: %q, %q, %+v", cut, err, &got.out, &got.stderr, end)
		}
		if cut%3 > 0 {
			return
		}
		var out, stderr []string
		for r, err := range c.Responses(ctx, u.ID, client.From{Stdout: 7}, &end) {
			if err != nil {
				t.Errorf("cut at %d: %v", cut, err)
			}
			to := &out
			if r.Stream == client.Stderr {
				to = &stderr
			}
			*to = append(*to, fmt.Sprintf("%d-%d %s", r.Offset, r.Next, r.Line))
		}
		if len(out) != 9 || out[0] != "7-14 line 1" || out[8] != "63-70 line 9" || len(stderr) != 2 || stderr[0] != "0-10 a warning" || stderr[1] != "10-20 and no end" {
			t.Errorf("cut at %d: %q, %q", cut, out, stderr)
		}
	})
}

// A payload that cannot be read again, and was cut, makes no unit behind our back.
func TestPayloadThatCannotBeReadAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	ctx := within(t)
	once := func() io.Reader { return io.MultiReader(strings.NewReader("once"), strings.NewReader(" only")) }
	everywhere(t, n.dial, 7, func(t *testing.T, c *client.Client, cut int) {
		submission := fmt.Sprint("mine-", cut)
		if cut%2 == 0 {
			submission = ""
		}
		u, err := c.Submit(ctx, client.Job{Type: "echo", Submission: submission, Payload: once()})
		var fault *client.PayloadError
		switch {
		case err == nil:
		case !errors.As(err, &fault):
			t.Errorf("cut at %d: %v", cut, err)
			return
		case submission == "":
			if _, err := c.Status(ctx, fault.Unit); !errors.Is(err, client.ErrGone) {
				t.Errorf("cut at %d: the unit that nobody can finish: %v", cut, err)
			}
			return
		default:
			if u, err = c.Submit(ctx, client.Job{Type: "echo", Submission: submission, Payload: once()}); err != nil || u.ID != fault.Unit {
				t.Errorf("cut at %d: again: unit %s, not %s: %v", cut, u.ID, fault.Unit, err)
			}
		}
		var got both
		if _, err := c.Results(ctx, u.ID, client.From{}, got.add); err != nil || got.out.String() != "once only" || n.worker.Runs(u.ID) != 1 {
			t.Errorf("cut at %d: %v: %q", cut, err, &got.out)
		}
	})
	// An error of the payload itself is not the end of it, either.
	c := client.Client{Dial: n.dial}
	bad := errors.New("bad disk")
	_, err := c.Submit(ctx, client.Job{Type: "echo", Payload: io.MultiReader(strings.NewReader("half"), iotest.ErrReader(bad))})
	if !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	for _, u := range n.work.List() {
		if u.State != client.Succeeded {
			t.Errorf("unit %s is %s", u.ID, u.State)
		}
	}
}

// Whoever gives up in the middle leaves no unit that waits for ever.
func TestSubmitGivenUp(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{})
	c := client.Client{Dial: n.dial}
	ctx, cancel := context.WithCancel(within(t))
	made := ""
	_, err := c.Submit(ctx, client.Job{Type: "echo", Payload: endless{}, Progress: func(int64) {
		made = n.work.List()[0].ID
		cancel()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := c.Status(within(t), made); !errors.Is(err, client.ErrGone) {
		t.Errorf("the unit: %v", err)
	}
	// Nor is it waited for a node that does not come back.
	n.stop()
	n.start()
	ctx, cancel = context.WithTimeout(within(t), settle/2)
	defer cancel()
	gone := client.Client{Patience: time.Millisecond, Dial: n.dial}
	if _, err := gone.Submit(ctx, client.Job{Type: "echo", Payload: endless{}, Progress: func(int64) { n.stop() }}); !errors.Is(err, client.ErrLost) {
		t.Errorf("a node that is gone: %v", err)
	}
}

func TestErrorsOfTheNode(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{OnStart: func(s workceptor.Start) error {
		if s.Params["params"] == "no" {
			return errors.New("no such program")
		}
		return nil
	}})
	ctx := within(t)
	c := client.Client{Dial: n.dial}
	_, err := c.Submit(ctx, client.Job{Type: "nope"})
	if !errors.Is(err, client.ErrUnknownType) || errors.Is(err, client.ErrNotFound) || err.Error() != "unknown work type nope" {
		t.Errorf("unknown type: %v", err)
	}
	if _, err := c.Drain(ctx, 0); err != nil {
		t.Error(err)
	}
	if _, err := c.Submit(ctx, client.Job{Type: "echo"}); !errors.Is(err, client.ErrDraining) {
		t.Errorf("to a node that drains: %v", err)
	}
	if l, err := c.List(ctx); err != nil || l.Draining == nil || l.Draining.Since.IsZero() {
		t.Errorf("draining: %v, %+v", err, l.Draining)
	}
	if err := c.Undrain(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.Submit(ctx, client.Job{Type: "echo", Submission: strings.Repeat("x", 129)}); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("long submission: %v", err)
	}
	u, err := c.Submit(ctx, client.Job{Type: "echo", Params: map[string]string{"params": "no"}})
	if err != nil || u.State != client.Failed || !strings.Contains(u.Detail, "no such program") {
		t.Errorf("refused: %v: %+v", err, u)
	}
	if released, err := c.Release(ctx, u.ID, false); err != nil || !released {
		t.Errorf("release: %v, %v", released, err)
	}
	_, err1 := c.Status(ctx, u.ID)
	_, err2 := c.Cancel(ctx, u.ID)
	_, err3 := c.Release(ctx, u.ID, true)
	_, err4 := c.Results(ctx, u.ID, client.From{}, nil)
	for i, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, client.ErrGone) || errors.Is(err, client.ErrNotFound) {
			t.Errorf("%d: a released unit: %v", i, err)
		}
	}
	if _, err := c.Status(ctx, "../../etc"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("unknown unit: %v", err)
	}
	l, err := c.List(ctx)
	if err != nil || l.Draining != nil || len(l.Nodes) != 0 || len(l.Units) != 0 || len(l.Types) != 1 || l.Types[0].Name != "echo" {
		t.Errorf("list: %v: %+v", err, l)
	}
	n.stop()
	n.config.Reserve = 1 << 62
	n.start()
	if _, err := c.Submit(ctx, client.Job{Type: "echo"}); !errors.Is(err, client.ErrNoRoom) {
		t.Errorf("full disk: %v", err)
	}
}

// What a node says that is ill, or none of ours, is an error, and not tried again.
func TestErrorsOfTheConversation(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	call := func(c *client.Client) error {
		_, err := c.List(ctx)
		return err
	}
	results := func(from client.From) func(c *client.Client) error {
		return func(c *client.Client) error {
			_, err := c.Results(ctx, "unit", from, func(client.Chunk) error { return nil })
			return err
		}
	}
	submit := func(c *client.Client) error {
		_, err := c.Submit(ctx, client.Job{Type: "echo", Payload: endless{}})
		return err
	}
	streaming := `{"id":1,"result":{"unit":"unit"}}` + "\n"
	receiving := `{"id":1,"result":{"unit":"unit","phase":"receiving"}}` + "\n"
	data := string(frame.Append(nil, frame.Stdout, []byte("data")))
	last := func(s string) string { return string(frame.Append(nil, frame.End, []byte(s))) }
	for _, test := range []struct {
		name string
		call func(*client.Client) error
		say  string
		want error
		text string
	}{
		{"legacy", call, "ERROR: bad command\n", client.ErrLegacy, ""},
		{"legacy answer", call, `{"Success":false}` + "\n", client.ErrLegacy, ""},
		{"stopping", call, `{"id":1,"error":{"code":"canceled","msg":"stopping"}}` + "\n", client.ErrLost, "stopping"},
		{"cut", call, `{"id":1,`, client.ErrLost, "unexpected EOF"},
		{"no JSON", call, "hello\n", nil, "read answer"},
		{"event", call, `{"id":1,"event":{}}` + "\n", nil, "events"},
		{"other bytes", results(client.From{}), streaming + data + last(`{"unit":{"stdout":{"size":4,"sha256":"00"}}}`), client.ErrDamaged, "SHA-256 of stdout"},
		{"fewer bytes", results(client.From{Stdout: 3}), streaming + data + last(`{"unit":{"stdout":{"size":8}}}`), client.ErrDamaged, "7 bytes, not 8"},
		{"more bytes", results(client.From{}), streaming + data + last(`{"unit":{"stdout":{"size":3}}}`), client.ErrDamaged, "4 bytes, not 3"},
		{"more bytes, unchecked", results(client.From{Unchecked: true}), streaming + data + last(`{"unit":{"stdout":{"size":3}}}`), client.ErrDamaged, "4 bytes, not 3"},
		{"truncated", results(client.From{}), streaming + last(`{"error":{"code":"internal","msg":"output of the unit is missing"}}`), nil, "missing"},
		{"what was not asked for", results(client.From{Stdout: client.Skip}), streaming + data, nil, "not wanted"},
		{"payload as a result", results(client.From{}), streaming + "\x00\x00\x00\x00\x00", nil, "type 0"},
		{"no frame", results(client.From{}), streaming + "hello", nil, "no frame"},
		{"refused payload", submit, receiving + last(`{"error":{"code":"no_room","msg":"no room"}}`), client.ErrNoRoom, ""},
		{"result as an answer", submit, receiving + data, nil, "type 1"},
		{"cut payload", submit, receiving, client.ErrLost, "send payload"},
	} {
		err := test.call(scripted(t, test.say))
		if err == nil || test.want != nil && !errors.Is(err, test.want) || test.want == nil && errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// endless is a payload without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error)     { return len(b), nil }
func (endless) Seek(int64, int) (int64, error) { return 0, nil }

// A watcher goes on over a restart of the node, and hears of everything.
func TestWatchOverRestart(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	n := newNode(t, &workertest.Worker{Run: func(*workertest.Unit) workceptor.Exit {
		<-let
		return workceptor.Exit{}
	}})
	ctx := within(t)
	lost := make(chan error, 100)
	c := client.Client{Dial: n.dial, Lost: func(err error) { lost <- err }}
	seen := map[string]client.State{}
	until := func(from uint64, done func() bool) (seq uint64) {
		for e, err := range c.Watch(ctx, client.WatchOptions{Since: from}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range e.Units {
				seen[u.ID] = u.State
			}
			seq = e.Seq
			if done() {
				break
			}
		}
		return seq
	}
	submit := func() client.Status {
		u, err := c.Submit(ctx, client.Job{Type: "echo"})
		if err != nil {
			t.Error(err)
		}
		return u
	}
	a, b := submit(), submit()
	seq := until(0, func() bool { return seen[a.ID] == client.Running && seen[b.ID] == client.Running })
	n.stop()
	restarted := make(chan client.Status)
	go func() {
		<-lost // the watcher has noticed
		n.start()
		u := submit()
		close(let)
		restarted <- u
	}()
	var last client.Status
	until(seq, func() bool {
		select {
		case last = <-restarted:
		default:
		}
		return last.ID != "" && seen[last.ID] == client.Succeeded && seen[a.ID] == client.Succeeded && seen[b.ID] == client.Succeeded || ctx.Err() != nil
	})
	if last.ID == "" {
		last = <-restarted
	}
	for _, u := range []client.Status{a, b, last} {
		if _, err := c.Results(ctx, u.ID, client.From{}, nil); err != nil || n.worker.Runs(u.ID) != 1 {
			t.Errorf("unit %s: %v", u.ID, err)
		}
	}
	// Of one unit only, with its release.
	released := false
	for e, err := range c.Watch(ctx, client.WatchOptions{Unit: b.ID}) {
		if err != nil || len(e.Units) != 1 || e.Units[0].ID != b.ID {
			t.Fatalf("%+v, %v", e, err)
		}
		if e.Units[0].Released {
			break
		}
		if !released {
			released = true
			if _, err := c.Release(ctx, b.ID, false); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A release, or a cancel, whose answer was cut off is asked for again.
func TestCancelAndReleaseCutEverywhere(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-u.Stopped
		return workceptor.Exit{Signal: "SIGTERM"}
	}})
	ctx := within(t)
	k := client.Client{Dial: n.dial}
	everywhere(t, n.dial, 5, func(t *testing.T, c *client.Client, cut int) {
		u, err := k.Submit(ctx, client.Job{Type: "echo"})
		if err != nil {
			t.Error(err)
			return
		}
		if cut%2 == 0 {
			if ended, err := c.Cancel(ctx, u.ID); err != nil || !ended {
				t.Errorf("cancel, cut at %d: %v, %v", cut, ended, err)
			}
			if u, err := k.Status(ctx, u.ID); err != nil || u.State != client.Canceled {
				t.Errorf("canceled: %v: %+v", err, u)
			}
		}
		if released, err := c.Release(ctx, u.ID, cut%4 == 1); err != nil || !released {
			t.Errorf("release, cut at %d: %v, %v", cut, released, err)
		}
	})
}

// Whoever wants no more gets no more, at once, whatever the call waits for.
func TestContextEndsEveryCall(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-u.Stopped
		return workceptor.Exit{}
	}})
	c := client.Client{Dial: n.dial}
	u, err := c.Submit(within(t), client.Job{Type: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	away := client.Client{Dial: func(context.Context) (io.ReadWriteCloser, error) { return nil, io.EOF }}
	why := errors.New("that is enough")
	for name, call := range map[string]func(ctx context.Context) error{
		"results": func(ctx context.Context) error {
			_, err := c.Results(ctx, u.ID, client.From{}, nil)
			return err
		},
		"responses": func(ctx context.Context) (last error) {
			for _, err := range c.Responses(ctx, u.ID, client.From{}, nil) {
				last = err
			}
			return last
		},
		"watch": func(ctx context.Context) (last error) {
			for _, err := range c.Watch(ctx, client.WatchOptions{}) {
				last = err
			}
			return last
		},
		"dial": func(ctx context.Context) error {
			_, err := away.List(ctx)
			return err
		},
	} {
		ctx, cancel := context.WithCancelCause(within(t))
		done := make(chan error)
		go func() { done <- call(ctx) }()
		cancel(why)
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Release(within(t), u.ID, false); err != nil {
		t.Fatal(err)
	}
}

// A node that says nothing is given up, and another try is made, as long as the
// client has patience.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(context.Context) (io.ReadWriteCloser, error) {
			ours, theirs := net.Pipe()
			go io.Copy(theirs, theirs) // ends with ours
			return ours, nil
		}
		tries, start := 0, time.Now()
		c := client.Client{Dial: silent, Patience: 10 * time.Minute, Lost: func(error) { tries++ }}
		_, err := c.List(t.Context())
		if took := time.Since(start); !errors.Is(err, client.ErrLost) || took < c.Patience || took > c.Patience+2*time.Minute || tries < 5 {
			t.Errorf("%v after %v and %d tries", err, took, tries)
		}
	})
}

// What is silent for longer than the client's patience, and is cut then, is gone on with.
func TestPatienceBeginsWithTheCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := frame.Append(nil, frame.End, []byte(`{"unit":{"unit":"unit","state":"succeeded"}}`))
		dials := 0
		c := client.Client{Patience: time.Minute, Dial: func(context.Context) (io.ReadWriteCloser, error) {
			dials++
			first := dials == 1
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				_, _ = io.WriteString(theirs, "Receptor Control, node alpha\n")
				_, _ = bufio.NewReader(theirs).ReadString('\n')
				_, _ = io.WriteString(theirs, `{"id":1,"result":{"unit":"unit"}}`+"\n")
				if first {
					time.Sleep(time.Hour)
					return
				}
				_, _ = theirs.Write(end)
			}()
			return ours, nil
		}}
		if u, err := c.Results(t.Context(), "unit", client.From{}, nil); err != nil || u.State != client.Succeeded || dials != 2 {
			t.Errorf("%+v, %v after %d connections", u, err, dials)
		}
	})
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", client.MaxLine+5)
	n := newNode(t, &workertest.Worker{})
	ctx := within(t)
	c := client.Client{Dial: n.dial}
	u, err := c.Submit(ctx, client.Job{Type: "echo", Payload: strings.NewReader("a\n\n" + long + "\nb")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	next := int64(0)
	for r, err := range c.Responses(ctx, u.ID, client.From{}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Offset != next {
			t.Errorf("a line at %d, not %d", r.Offset, next)
		}
		next = r.Next
		got = append(got, fmt.Sprintf("%.3s %d %v", r.Line, len(r.Line), r.More))
	}
	if want := fmt.Sprintf("[a 1 false  0 false xxx %d true xxx 5 false b 1 false]", client.MaxLine); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
