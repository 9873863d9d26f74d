package legacy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// How a node has another one run a unit.
const (
	controlService  = "control"
	greetingTime    = 5 * time.Second
	remotePoll      = time.Second
	firstPause      = time.Second // after a conversation that could not be; then 1.5 times as long
	longestPause    = time.Minute
	firstTalk       = 30 * time.Second // that who asks waits for
	unknownUnitText = "unknown work unit"
)

// RemoteUnit is the ExtraData of a remote unit, in the order of the keys.
type RemoteUnit struct {
	RemoteNode     string
	RemoteWorkType string
	RemoteParams   map[string]string
	RemoteUnitID   string
	RemoteStarted  bool
	LocalCancelled bool
	LocalReleased  bool
	SignWork       bool
	TLSClient      string
	Expiration     time.Time
}

// remoteTalk is a conversation with the control service of another node.
type remoteTalk struct {
	*Stream
	in  *bufio.Reader
	off func() bool
}

// talk begins a conversation about a unit, which the end of ctx cuts.
func (w *Work) talk(ctx context.Context, u *unit) (*remoteTalk, error) {
	node := u.remote.RemoteNode
	s, err := w.nodeOf(u).Dial(ctx, node, controlService, nil)
	if err != nil {
		return nil, err
	}
	t := &remoteTalk{Stream: s, in: bufio.NewReader(s)}
	t.off = context.AfterFunc(ctx, func() { s.Close() })
	_ = s.SetReadDeadline(time.Now().Add(greetingTime))
	greeting, err := t.in.ReadString('\n')
	_ = s.SetReadDeadline(time.Time{})
	if err == nil && !strings.Contains(greeting, node) {
		err = fmt.Errorf("%q does not name the node", greeting)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close closes it as existing nodes do: with the connection.
func (t *remoteTalk) Close() error {
	t.off()
	return t.Stream.Close()
}

// ask sends a line and reads the answer, which may be an ERROR.
func (t *remoteTalk) ask(line string) (string, error) {
	if _, err := io.WriteString(t, line+"\n"); err != nil {
		return "", err
	}
	return t.in.ReadString('\n')
}

// workLine is a command in JSON, its keys sorted.
func workLine(sub string, more map[string]any) string {
	keys := map[string]any{"command": "work", "subcommand": sub}
	for key, value := range more {
		keys[key] = value
	}
	line, err := json.Marshal(keys)
	if err != nil {
		panic(err) // strings and numbers can be written
	}
	return string(line)
}

// refusal is an answer that says no, which is not asked for again.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// beginRemote tries to submit once; what cannot be goes on being tried.
func (w *Work) beginRemote(u *unit) (result string, err error) {
	ctx, cancel := context.WithTimeout(w.ctx, firstTalk)
	defer cancel()
	unreached := w.submit(ctx, u)
	if errors.As(unreached, new(refusal)) {
		w.set(u, UnitFailed, "Error starting worker: "+unreached.Error())
		return "", unreached
	}
	w.launch(u, u.node, func(ctx context.Context) {
		err := unreached
		if err != nil {
			err = persist(ctx, func() error { return w.submit(ctx, u) })
		}
		if err == nil {
			w.watch(ctx, u)
		} else if ctx.Err() == nil {
			w.set(u, UnitFailed, "Error starting worker: "+err.Error())
		}
	})
	if unreached != nil {
		return "Job Submitted", nil
	}
	return "Job Started", nil
}

// persist does what needs the other node until it is done, or refused.
func persist(ctx context.Context, do func() error) error {
	for pause := firstPause; ; pause = min(pause*3/2, longestPause) {
		if !wait(ctx, pause) {
			return context.Cause(ctx)
		}
		if err := do(); err == nil || errors.As(err, new(refusal)) {
			return err
		}
	}
}

var createdID = regexp.MustCompile(`with ID ([a-zA-Z0-9]+)\.`)

// submit has the other node have the unit.
func (w *Work) submit(ctx context.Context, u *unit) error {
	t, err := w.talk(ctx, u)
	if err != nil {
		return err
	}
	defer t.Close()
	keys := map[string]any{"node": u.remote.RemoteNode, "worktype": u.remote.RemoteWorkType, "tlsclient": ""}
	for key, value := range u.remote.RemoteParams {
		keys[key] = value
	}
	if err := w.sign(u.remote, keys); err != nil {
		return err
	}
	answer, err := t.ask(workLine("submit", keys))
	if err != nil {
		return err
	}
	id := createdID.FindStringSubmatch(answer)
	if id == nil {
		return refusal{"could not parse response: " + strings.TrimSuffix(answer, "\n")}
	}
	if _, err := t.Write(u.stdin); err != nil {
		return err
	}
	if err := t.CloseWrite(); err != nil {
		return err
	}
	if answer, err = t.in.ReadString('\n'); err != nil {
		return err
	}
	if strings.HasPrefix(answer, "ERROR: ") {
		return refusal{strings.TrimSuffix(answer, "\n")}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	u.remote.RemoteUnitID, u.remote.RemoteStarted = id[1], true
	return nil
}

// Resume has a node that has started again watch the remote units of the last one.
func (w *Work) Resume(n *Node) {
	w.mu.Lock()
	var again []*unit
	for _, u := range w.units {
		if u.remote == nil {
			continue
		}
		u.node = n
		switch {
		case u.remote.RemoteStarted:
			again = append(again, u)
		case !u.status.finished():
			u.status.State, u.status.Detail = UnitFailed, "Failed to restart: remote work had not previously started"
		}
	}
	w.mu.Unlock()
	for _, u := range again {
		w.halt(u)
		w.launch(u, n, func(ctx context.Context) { w.watch(ctx, u) })
	}
}

// watch polls the status of a unit, and brings what it writes, until all is here.
func (w *Work) watch(ctx context.Context, u *unit) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		answer, err := w.poll(ctx, u)
		if err == nil && strings.Contains(answer, unknownUnitText) {
			w.set(u, UnitFailed, "Remote work unit is gone")
			w.mu.Lock()
			u.status.StdoutSize = int64(len(u.stdout)) // there is no more
			w.mu.Unlock()
		}
	}()
	w.fetch(ctx, u)
	cancel()
	<-polled
}

// poll asks for the status of a unit every second, on one connection while that
// lasts. It ends with an ERROR, which it returns.
func (w *Work) poll(ctx context.Context, u *unit) (answer string, err error) {
	for pause := firstPause; ; pause = min(pause*3/2, longestPause) {
		if t, err := w.talk(ctx, u); err == nil {
			answer, err = w.pollOn(ctx, u, t)
			t.Close()
			if err == nil {
				return answer, nil
			}
			pause = firstPause
		}
		if !wait(ctx, pause) {
			return "", context.Cause(ctx)
		}
	}
}

func (w *Work) pollOn(ctx context.Context, u *unit, t *remoteTalk) (answer string, err error) {
	for {
		answer, err := t.ask("work status " + u.remote.RemoteUnitID)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(answer, "ERROR") {
			return answer, nil
		}
		var s UnitStatus
		if err := json.Unmarshal([]byte(answer), &s); err != nil {
			return "", err
		}
		w.mu.Lock()
		u.status.State, u.status.Detail, u.status.StdoutSize = s.State, s.Detail, s.StdoutSize
		w.mu.Unlock()
		if !wait(ctx, remotePoll) {
			return "", context.Cause(ctx)
		}
	}
}

// fetch brings what a unit has written when the status says that there is more.
// Its connections stay open until the end.
func (w *Work) fetch(ctx context.Context, u *unit) {
	for wait(ctx, remotePoll) {
		w.mu.Lock()
		have := int64(len(u.stdout))
		more, over := have < u.status.StdoutSize, u.status.finished()
		w.mu.Unlock()
		if over && !more {
			return
		}
		if !more {
			continue
		}
		t, err := w.talk(ctx, u)
		if err != nil {
			continue
		}
		defer t.Close()
		keys := map[string]any{"startpos": have, "unitid": u.remote.RemoteUnitID}
		if w.sign(u.remote, keys) != nil {
			return
		}
		answer, err := t.ask(workLine("results", keys))
		if err == nil && strings.Contains(answer, "Streaming results") {
			_, _ = io.Copy(unitWriter{w, u}, t.in) // what was cut off is asked for again
		}
	}
}

// tell has the other node do something to a unit.
func (w *Work) tell(ctx context.Context, u *unit, sub string) error {
	t, err := w.talk(ctx, u)
	if err != nil {
		return err
	}
	defer t.Close()
	keys := map[string]any{"unitid": u.remote.RemoteUnitID}
	if err := w.sign(u.remote, keys); err != nil {
		return err
	}
	answer, err := t.ask(workLine(sub, keys))
	if err == nil && strings.HasPrefix(answer, "ERROR") {
		err = refusal{strings.TrimSuffix(strings.TrimPrefix(answer, "ERROR: "), "\n")}
	}
	return err
}

// tellOnce tries it while somebody waits.
func (w *Work) tellOnce(u *unit, sub string) error {
	ctx, cancel := context.WithTimeout(w.ctx, firstTalk)
	defer cancel()
	return w.tell(ctx, u, sub)
}

// isStarted tells whether the other node has the unit; if not, it will not either.
func (w *Work) isStarted(u *unit, note func(*RemoteUnit)) bool {
	w.mu.Lock()
	note(u.remote)
	started := u.remote.RemoteStarted
	w.mu.Unlock()
	if started {
		return true
	}
	w.halt(u)
	w.mu.Lock()
	defer w.mu.Unlock()
	return u.remote.RemoteStarted // meanwhile
}

func (w *Work) cancelRemote(u *unit) (pending bool, err error) {
	if !w.isStarted(u, func(r *RemoteUnit) { r.LocalCancelled = true }) {
		w.set(u, UnitFailed, "Locally Cancelled")
		return false, nil
	}
	err = w.tellOnce(u, "cancel")
	if err == nil || errors.As(err, new(refusal)) {
		return false, err
	}
	n := w.nodeOf(u)
	w.wg.Go(func() {
		ctx, cancel := w.within(n)
		defer cancel()
		_ = persist(ctx, func() error { return w.tell(ctx, u, "cancel") }) // a refusal has nobody to hear it
	})
	return true, nil
}

func (w *Work) releaseRemote(u *unit, force bool) (pending bool, err error) {
	if !w.isStarted(u, func(r *RemoteUnit) { r.LocalReleased = true }) {
		w.forget(u)
		return false, nil
	}
	unreached := w.tellOnce(u, "release")
	if !force && errors.As(unreached, new(refusal)) {
		return false, unreached
	}
	w.halt(u)
	if force {
		w.forget(u)
		return false, nil
	}
	w.launch(u, w.nodeOf(u), func(ctx context.Context) {
		if unreached != nil && persist(ctx, func() error { return w.tell(ctx, u, "release") }) != nil && ctx.Err() != nil {
			return
		}
		if _, err := w.poll(ctx, u); err == nil {
			w.forget(u)
		}
	})
	return unreached != nil, nil
}

// nodeOf is the node that has a remote unit run.
func (w *Work) nodeOf(u *unit) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return u.node
}
