package state

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// run gives a new unit one event after the other, a second apart.
func run(t *testing.T, events ...Event) Unit {
	t.Helper()
	u := New(t0)
	for i, e := range events {
		e.At = t0.Add(time.Duration(i+1) * time.Second)
		next, err := u.Next(e)
		if err != nil {
			t.Fatalf("event %d, %s: %v", i, e.Kind, err)
		}
		u = next
	}
	return u
}

var (
	received = Event{Kind: Received, Stdin: Output{Size: 3, SHA256: "ab"}}
	handed   = Event{Kind: Handed}
	back     = Event{Kind: TakenBack}
	started  = Event{Kind: Started, PID: 7, Handle: json.RawMessage(`{"a":1}`)}
	cancel   = Event{Kind: CancelAsked}
	exit0    = Event{Kind: Exited, Stdout: Output{Size: 5, SHA256: "cd"}}
	exit3    = Event{Kind: Exited, Exit: Exit{Code: 3}}
	killed   = Event{Kind: Exited, Exit: Exit{Signal: "SIGKILL"}}
	refused  = Event{Kind: Refused, Reason: "no such command"}
	vanished = Event{Kind: Vanished, Reason: "the machine was restarted"}
)

func TestLives(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		events []Event
		state  State
		phase  Phase
		code   int
		detail string
	}{
		{"created", nil, Pending, Receiving, 0, "Waiting for Input Data"},
		{"payload received", []Event{received}, Pending, Queued, 0, "Starting Worker"},
		{"given to a worker", []Event{received, handed}, Pending, Starting, 0, "Launching command runner"},
		{"the worker has never had it", []Event{received, handed, back}, Pending, Queued, 0, "Starting Worker"},
		{"running", []Event{received, handed, started}, Running, "", 1, "Running: PID 7"},
		{"running without a pid", []Event{received, handed, {Kind: Started}}, Running, "", 1, "Running"},
		{"running, says the worker", []Event{received, handed, {Kind: Started, Detail: "Pod is up"}}, Running, "", 1, "Pod is up"},
		{"found running after the record of its start was lost", []Event{received, started}, Running, "", 1, "Running: PID 7"},
		{"exit 0", []Event{received, handed, started, exit0}, Succeeded, "", 2, "exit status 0"},
		{"exit 3", []Event{received, handed, started, exit3}, Failed, "", 3, "exit status 3"},
		{"killed by a signal", []Event{received, handed, started, killed}, Failed, "", 3, "signal: killed"},
		{"ended before its start was reported", []Event{received, handed, exit0}, Succeeded, "", 2, "exit status 0"},
		{"refused by the worker", []Event{received, handed, refused}, Failed, "", 3, "Error starting worker: no such command"},
		{"payload never whole", []Event{{Kind: Abandoned, Reason: "Pending at restart"}}, Failed, "", 3, "Pending at restart"},
		{"lost while running", []Event{received, handed, started, vanished}, Lost, "", 3, "Lost: the machine was restarted"},
		{"lost while starting", []Event{received, handed, vanished}, Lost, "", 3, "Lost: the machine was restarted"},
		{"canceled before its payload came", []Event{cancel}, Canceled, "", 4, "Canceled"},
		{"canceled in the queue", []Event{received, cancel}, Canceled, "", 4, "Canceled"},
		{"cancel asked for", []Event{received, handed, started, cancel}, Running, "", 1, "Running: PID 7"},
		{"canceled while starting, never had", []Event{received, handed, cancel, back}, Canceled, "", 4, "Canceled"},
		{"canceled, and killed", []Event{received, handed, started, cancel, killed}, Canceled, "", 4, "Canceled"},
		{"canceled, and ended well just then", []Event{received, handed, started, cancel, exit0}, Canceled, "", 4, "Canceled"},
		{"canceled, and lost", []Event{received, handed, started, cancel, vanished}, Canceled, "", 4, "Canceled"},
		{"canceled where it runs", []Event{received, handed, started, {Kind: Withdrawn}}, Canceled, "", 4, "Canceled"},
		{"not begun in time", []Event{received, handed, {Kind: Expired, Reason: "Work unit expired on Sun"}}, Failed, "", 3, "Work unit expired on Sun"},
		{"not even received in time", []Event{{Kind: Expired, Reason: "Work unit expired on Sun"}, received}, Failed, "", 3, "Work unit expired on Sun"},
		{"late news of an ended unit", []Event{received, handed, started, exit3, exit0, vanished, cancel, started, handed}, Failed, "", 3, "exit status 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := run(t, test.events...)
			code, _ := u.State.Legacy()
			if u.State != test.state || u.Phase != test.phase || code != test.code || u.Detail != test.detail {
				t.Errorf("%s %q, code %d, detail %q; want %s %q, %d, %q",
					u.State, u.Phase, code, u.Detail, test.state, test.phase, test.code, test.detail)
			}
			if !u.Valid() {
				t.Errorf("%+v is not valid", u)
			}
		})
	}
}

func TestEndKeepsTheFacts(t *testing.T) {
	t.Parallel()
	u := run(t, received, handed, started, cancel, killed)
	if u.Exit == nil || u.Exit.Signal != "SIGKILL" {
		t.Errorf("exit is %+v: a canceled unit still tells how its process ended", u.Exit)
	}
	if !u.Started.Equal(t0.Add(3*time.Second)) || !u.Ended.Equal(t0.Add(5*time.Second)) || u.PID != 0 {
		t.Errorf("started %v, ended %v, pid %d", u.Started, u.Ended, u.PID)
	}
	if u = run(t, received, handed, started, exit0); u.Stdin.Size != 3 || u.Stdout != exit0.Stdout {
		t.Errorf("stdin %+v, stdout %+v", u.Stdin, u.Stdout)
	}
	var what []string
	for _, c := range u.History {
		what = append(what, string(c.What)+" "+string(c.State)+" "+c.Detail)
	}
	want := []string{
		"created pending Unit Created", "received pending Starting Worker", "handed pending Launching command runner",
		"started running Running: PID 7", "exited succeeded exit status 0",
	}
	if !slices.Equal(what, want) {
		t.Errorf("history %q, want %q", what, want)
	}
}

func TestIllegal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		before []Event
		e      Event
	}{
		{"handed without its payload", nil, handed},
		{"runs without its payload", nil, started},
		{"ended without its payload", nil, exit0},
		{"lost before anybody had it", []Event{received}, vanished},
		{"given back while it runs", []Event{received, handed, started}, back},
		{"refused while it runs", []Event{received, handed, started}, refused},
		{"abandoned with its payload", []Event{received}, Event{Kind: Abandoned}},
		{"a kind that there is not", []Event{received}, Event{Kind: "eaten"}},
		{"a handle that cannot be kept", []Event{received}, Event{Kind: Started, Handle: json.RawMessage("{")}},
		{"created again", []Event{received}, Event{Kind: Created}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := run(t, test.before...)
			next, err := u.Next(test.e)
			if !errors.Is(err, ErrIllegal) || !reflect.DeepEqual(next, u) {
				t.Errorf("gives %v, %+v", err, next)
			}
		})
	}
}

func TestReleaseIsRemembered(t *testing.T) {
	t.Parallel()
	release := Event{Kind: CancelAsked, Release: true}
	for _, events := range [][]Event{{release}, {cancel, release}, {release, cancel}} {
		if u := run(t, append([]Event{received, handed, started}, events...)...); !u.ReleaseAsked || !u.CancelAsked {
			t.Errorf("%+v", u)
		}
	}
	if u := run(t, received, release); u.State != Canceled || !u.ReleaseAsked {
		t.Errorf("%+v", u)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	u := run(t, received)
	for range 1000 {
		for _, e := range []Event{handed, {Kind: Detailed, Detail: "pulling"}, {Kind: Detailed, Detail: strings.Repeat("x", 2*maxText)}, back} {
			var err error
			if u, err = u.Next(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(u.History) > maxHistory+2 {
		t.Errorf("history has %d entries", len(u.History))
	}
	for _, c := range u.History {
		if len(c.Detail) > maxText {
			t.Fatalf("a detail has %d bytes", len(c.Detail))
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	s := Spec{Params: map[string]string{"params": "-x", "secret_token": "s", "SECRET_KEY": "s", "secretary": "ann"}}
	if got := s.WithoutSecrets().Params; len(got) != 2 || got["params"] != "-x" || got["secretary"] != "ann" {
		t.Errorf("shows %v", got)
	}
	if len(s.Params) != 4 {
		t.Error("the original lost its secrets")
	}
}

func TestExitTexts(t *testing.T) {
	t.Parallel()
	for exit, want := range map[Exit]string{
		{Code: 0}: "exit status 0", {Code: 255}: "exit status 255",
		{Signal: "SIGSEGV"}: "signal: segmentation fault", {Signal: "SIGRTMIN+1", Code: 9}: "signal: rtmin+1",
	} {
		if got := exit.String(); got != want {
			t.Errorf("%+v is %q, want %q", exit, got, want)
		}
	}
}

// FuzzEvents: whatever is reported, in whatever order, the promises of the
// package comment hold, and a unit survives being written down.
func FuzzEvents(f *testing.F) {
	kinds := []Kind{Received, Handed, TakenBack, Started, Detailed, CancelAsked, Exited, Refused, Vanished, Abandoned, Withdrawn, Expired, Created, "?"}
	f.Add([]byte{0, 1, 3, 6})
	f.Add([]byte{0, 1, 3, 5, 6, 8})
	f.Add([]byte{0, 1, 2, 1, 4, 4, 8, 5, 3})
	f.Add([]byte{5, 0, 1})
	f.Fuzz(func(t *testing.T, events []byte) {
		u := New(t0)
		for i, b := range events {
			e := Event{
				Kind: kinds[int(b)%len(kinds)], At: t0.Add(time.Duration(i) * time.Second),
				Detail: string(events[:i]), Reason: "r", PID: int(b) & 1 * i, Exit: Exit{Code: int(b) >> 6},
			}
			before := u
			beforeJSON, _ := json.Marshal(before)
			next, err := u.Next(e)
			if now, _ := json.Marshal(before); string(now) != string(beforeJSON) {
				t.Fatalf("%s changed the unit that it was given", e.Kind)
			}
			changed := !reflect.DeepEqual(next, before)
			switch {
			case err != nil && (changed || !errors.Is(err, ErrIllegal)):
				t.Fatalf("%s: error %v, changed %v", e.Kind, err, changed)
			case changed && next.Rev != before.Rev+1, !changed && next.Rev != before.Rev:
				t.Fatalf("%s: rev %d after %d, changed %v", e.Kind, next.Rev, before.Rev, changed)
			case next.State.rank() < before.State.rank():
				t.Fatalf("%s: %s after %s", e.Kind, next.State, before.State)
			case before.State.Final() && changed:
				t.Fatalf("%s: changed after its end", e.Kind)
			case before.CancelAsked && !next.CancelAsked, next.CancelAsked && next.State.Final() && next.State != Canceled:
				t.Fatalf("%s: a cancel was forgotten: %+v", e.Kind, next)
			case !next.Valid():
				t.Fatalf("%s: %+v is not valid", e.Kind, next)
			case len(next.History) > maxHistory+2:
				t.Fatalf("history has %d entries", len(next.History))
			}
			u = next
		}
		b, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var back Unit
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(back); string(again) != string(b) {
			t.Fatalf("%s comes back as %s", b, again)
		}
	})
}
