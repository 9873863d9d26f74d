package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
)

var day = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// set sets a text of whatever type.
func set[T ~string](to *T, text string) { *to = T(text) }

// unit is one after some changes, each such as "started running".
func unit(changes ...string) client.Status {
	u := client.Status{ID: "u", Type: "t", Created: day}
	u.History = slices.Grow(u.History, len(changes))[:len(changes)]
	for i, c := range changes {
		what, state, _ := strings.Cut(c, " ")
		h, at := &u.History[i], day.Add(time.Duration(i)*time.Second)
		set(&h.What, what)
		set(&h.State, state)
		h.At, h.Detail = at, c
		if h.State == client.Running && u.State == client.Pending {
			u.Started = at
		}
		if u.State, u.Ended = h.State, (time.Time{}); u.State.Final() {
			u.Ended = at
		}
		if what == "exited" {
			u.Exit = new(client.Exit)
		}
		u.CancelAsked = u.CancelAsked || what == "cancel"
	}
	return u
}

// The life of a unit, as far as it has got.
var (
	created  = unit("created pending")
	queued   = unit("created pending", "received pending")
	handed   = unit("created pending", "received pending", "handed pending")
	running  = unit("created pending", "received pending", "handed pending", "started running")
	done     = unit("created pending", "received pending", "handed pending", "started running", "exited succeeded")
	unwanted = unit("created pending", "received pending", "handed pending", "started running", "cancel running")
	canceled = unit("created pending", "received pending", "handed pending", "started running", "cancel running", "exited canceled")
	lost     = unit("created pending", "received pending", "handed pending", "vanished lost")
	gone     = client.Status{ID: "u", Released: true}
)

// changed is u with a change.
func changed(u client.Status, change func(*client.Status)) client.Status {
	u.History = slices.Clone(u.History)
	change(&u)
	return u
}

// brief is u without its history.
func brief(u client.Status) client.Status {
	return changed(u, func(u *client.Status) { u.History = nil })
}

// said is u where the worker has said something.
func said(u client.Status, details ...string) client.Status {
	return changed(u, func(u *client.Status) {
		for _, d := range details {
			h := u.History[len(u.History)-1]
			set(&h.What, "detailed")
			h.Detail = d
			u.History = append(u.History, h)
		}
	})
}

// at is a look, between these times.
func at(asked, told int, u client.Status) Look {
	return Look{Node: "a", Asked: time.Duration(asked), Told: time.Duration(told), Unit: u}
}

// by is that of somebody who looks again and again, from a time on.
func by(who string, asked, told int, u client.Status) Look {
	l := at(asked, told, u)
	l.By = who
	return l
}

// far is a look at the other node, and near makes a unit one that this one runs.
func far(asked, told int, u client.Status) Look {
	l := at(asked, told, changed(u, func(u *client.Status) { u.ID = "far" }))
	l.Node = "c"
	return l
}

func near(u client.Status) client.Status {
	u.Node, u.RemoteUnit = "c", "far"
	return u
}

// called is u under another ID, with the name of its submission.
func called(id, submission string, u client.Status) client.Status {
	u.ID, u.Submission = id, submission
	return u
}

func TestCheck(t *testing.T) {
	twice := changed(done, func(u *client.Status) { u.Stdout.Size++ })
	for name, c := range map[string]struct {
		looks []Look
		want  string // in the only fault; empty: none
	}{
		"nothing":                            {},
		"a whole life":                       {[]Look{at(0, 1, created), at(2, 3, queued), at(4, 5, handed), at(6, 7, running), at(8, 9, done), at(10, 11, gone), at(12, 13, gone)}, ""},
		"lost before it ran":                 {[]Look{at(0, 1, handed), at(2, 3, lost)}, ""},
		"canceled while it ran":              {[]Look{at(0, 1, running), at(2, 3, unwanted), at(4, 5, canceled)}, ""},
		"steps are missed":                   {[]Look{by("w", 0, 1, created), by("w", 0, 2, done)}, ""},
		"without the history":                {[]Look{at(0, 1, running), at(2, 3, brief(done)), at(4, 5, done)}, ""},
		"told again":                         {[]Look{by("w", 0, 1, running), by("w", 0, 2, running), by("w", 0, 3, done), by("w", 0, 4, done)}, ""},
		"two who look at the same time":      {[]Look{at(0, 5, running), at(1, 4, done)}, ""},
		"a watcher is late":                  {[]Look{at(0, 1, done), by("w", 0, 2, running), by("w", 0, 3, done)}, ""},
		"back, by one watcher":               {[]Look{by("w", 0, 1, running), by("w", 0, 2, handed)}, "it was running, and is pending"},
		"back, by history only":              {[]Look{by("w", 0, 1, handed), by("w", 0, 2, queued)}, "had 3 changes, and has 2"},
		"back, by two":                       {[]Look{at(0, 1, done), at(2, 3, running)}, "it was succeeded, and is running"},
		"back, from a watcher to another":    {[]Look{by("w", 0, 1, running), by("v", 2, 3, handed)}, "it was running, and is pending"},
		"back, in between":                   {[]Look{at(4, 9, done), at(0, 1, running), at(2, 3, handed)}, "it was running, and is pending"},
		"ended in two ways at the same time": {[]Look{at(0, 5, done), at(0, 5, canceled)}, "it had ended with"},
		"two lives at the same time":         {[]Look{at(0, 5, said(running, "x")), at(0, 5, unwanted)}, "change 4 of its history"},
		"more output after the end":          {[]Look{at(0, 1, done), at(2, 3, twice)}, "it had ended with"},
		"back from the dead":                 {[]Look{at(0, 1, gone), at(2, 3, done)}, "it was gone, and is succeeded"},
		"a cancel is forgotten":              {[]Look{at(0, 1, brief(unwanted)), at(2, 3, brief(running))}, "nobody knows of that any more"},
		"canceled, and yet it succeeded": {
			[]Look{at(0, 1, changed(done, func(u *client.Status) { u.CancelAsked = true }))}, "it was to be canceled, and is succeeded",
		},
		"started again": {
			[]Look{at(0, 1, running), at(2, 3, changed(running, func(u *client.Status) { u.Started = day }))}, "it had started at",
		},
		"another was asked for": {
			[]Look{at(0, 1, queued), at(2, 3, changed(queued, func(u *client.Status) { u.Type = "other" }))}, "was asked for",
		},
		"what the worker says last, said anew": {[]Look{at(0, 1, said(running, "one")), at(2, 3, said(running, "two"))}, ""},
		"what the worker says, longer":         {[]Look{at(0, 1, said(running, "one")), at(2, 3, said(running, "one", "two"))}, ""},
		"what was said before, said anew":      {[]Look{at(0, 1, said(running, "one", "x")), at(2, 3, said(running, "two", "x"))}, "change 4 of its history"},
		"a history that is full": {
			[]Look{at(0, 1, said(running, make([]string, maxChanges-4)...)), at(2, 3, said(running, append(make([]string, maxChanges-5), "x")...))}, "",
		},
		"a step that there is not":    {[]Look{at(0, 1, unit("created pending", "received running"))}, `is "received", which takes it from "pending" to "running"`},
		"a step after the end":        {[]Look{at(0, 1, unit("created pending", "refused failed", "started running"))}, `"started", which takes it from "failed"`},
		"a history without beginning": {[]Look{at(0, 1, unit("received pending"))}, `takes it from "" to "pending"`},
		"a history of another state": {
			[]Look{at(0, 1, changed(running, func(u *client.Status) { u.State, u.Started = client.Pending, time.Time{} }))}, "its history ends with running",
		},
		"succeeded without an exit": {[]Look{at(0, 1, changed(done, func(u *client.Status) { u.Exit = nil }))}, "has exited with"},
		"running without a start":   {[]Look{at(0, 1, changed(running, func(u *client.Status) { u.Started = time.Time{} }))}, "ran by its history: true"},
		"one submission, two units": {[]Look{at(0, 1, called("u", "s", queued)), at(0, 1, called("v", "s", queued))}, "have one submission"},
		"one submission, two nodes": {[]Look{at(0, 1, called("u", "s", queued)), {Node: "b", Unit: called("v", "s", queued)}}, ""},

		"elsewhere":                             {[]Look{far(0, 1, running), at(2, 3, near(running)), far(4, 5, done), at(6, 7, near(done)), far(8, 9, gone), at(10, 11, gone)}, ""},
		"elsewhere, at the same time":           {[]Look{far(0, 3, handed), at(0, 3, near(running))}, ""},
		"elsewhere, canceled before its end":    {[]Look{far(0, 1, done), at(2, 3, near(canceled))}, ""},
		"elsewhere, not yet known here":         {[]Look{at(0, 1, near(handed)), far(2, 3, done)}, ""},
		"it moves":                              {[]Look{at(0, 1, near(running)), at(2, 3, changed(near(running), func(u *client.Status) { u.RemoteUnit = "" }))}, "it was unit far at c"},
		"two units there are one":               {[]Look{at(0, 1, called("u", "", near(running))), at(0, 1, called("v", "", near(running)))}, "are one unit at c"},
		"ahead of where it runs":                {[]Look{at(0, 1, near(running)), far(2, 3, handed)}, "it is ahead"},
		"ended before it has where it runs":     {[]Look{at(0, 1, near(done)), far(2, 3, running)}, "it is ahead"},
		"gone where it runs, before its end":    {[]Look{far(0, 1, gone), at(2, 3, near(running))}, "it is gone there"},
		"ended otherwise than where it runs":    {[]Look{far(0, 1, done), at(2, 3, near(lost))}, "it has ended otherwise"},
		"other output than where it has run":    {[]Look{far(0, 1, done), at(2, 3, near(twice))}, "it has ended otherwise"},
		"lost there, and succeeded here anyway": {[]Look{far(0, 1, lost), at(2, 3, near(done))}, "it has ended otherwise"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := Check(c.looks)
			switch {
			case c.want == "" && len(faults) > 0:
				t.Errorf("faults: %v", faults)
			case c.want != "" && (len(faults) != 1 || !strings.Contains(faults[0].Error(), c.want)):
				t.Errorf("faults: %v; want %q", faults, c.want)
			}
			if again := Check(c.looks); fmt.Sprint(again) != fmt.Sprint(faults) {
				t.Errorf("the second time: %v; the first time: %v", again, faults)
			}
		})
	}
}
