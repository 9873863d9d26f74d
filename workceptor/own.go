package workceptor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/frame"
	"github.com/project-receptor/receptor/workceptor/internal/signing"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// ownArgs are the arguments of the command in our own form. Which ones count depends
// on the subcommand.
type ownArgs struct {
	Sub  string `json:"subcommand"`
	Unit string `json:"unit"`

	Node       string            `json:"node"`
	Type       string            `json:"type"`
	Params     map[string]string `json:"params"`
	Submission string            `json:"submission"`
	Merged     bool              `json:"merged"`

	Stdout *int64 `json:"stdout"` // where to begin; -1: not at all
	Stderr *int64 `json:"stderr"`
	Since  uint64 `json:"since"`
	Force  bool   `json:"force"`

	Submissions string `json:"submissions"` // watch: only those that begin like that

	// About another node: see Request. Durations are those of Go.
	TLSClient    string `json:"tlsclient"`
	TTL          string `json:"ttl"`
	OnDisconnect string `json:"on_disconnect"` // wait or fail
	Disconnect   string `json:"disconnect_time"`

	Deadline string `json:"deadline"` // drain: see Drain

	SignWork  bool   `json:"signwork"` // submit: this node signs it for the other one
	Signature string `json:"signature"`
	Payload   string `json:"payload"` // submit: SHA-256 of what will come
}

// Own answers our own form.
func (c *Command) Own(ctx context.Context, s Session, raw json.RawMessage, emit func(any) error) (any, error) {
	var a ownArgs
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, commandError(fmt.Errorf("%w: args: %w", ErrInvalid, err))
	}
	result, err := c.own(ctx, s, a, emit)
	if err != nil {
		c.w.noteDenied(a.Sub, a.Unit, a.Type, err)
		return nil, commandError(err)
	}
	return result, nil
}

func (c *Command) own(ctx context.Context, s Session, a ownArgs, emit func(any) error) (any, error) {
	switch a.Sub {
	case "submit":
		return nil, c.ownSubmit(ctx, s, a)
	case "type":
		return c.ownType(ctx, a)
	case "nonce":
		return map[string]any{"nonce": c.w.nonces.New()}, nil
	case "drain", "undrain":
		return c.ownDrain(s, a)
	case "list":
		return c.ownList(s, a)
	case "watch":
		return nil, c.ownWatch(ctx, s, a, emit)
	case "status", "results", "cancel", "release":
	default:
		return nil, fmt.Errorf("%w: subcommand is %.40q, not submit, list, status, results, watch, cancel, release, type, nonce, drain or undrain", ErrInvalid, a.Sub)
	}
	if u, err := c.w.store.Get(a.Unit); err != nil {
		return nil, fmt.Errorf("%w %.100s", err, a.Unit)
	} else if err := c.authorize(s, u.Spec.Secure, a.Signature, c.signatureOf(signing.Request{Command: a.Sub, Unit: a.Unit, Force: a.Force})); err != nil {
		return nil, err
	}
	switch a.Sub {
	case "status":
		u, err := c.w.Get(a.Unit)
		if err != nil {
			return nil, fmt.Errorf("%w %.100s", err, a.Unit)
		}
		return u, nil
	case "results":
		return nil, c.ownResults(ctx, s, a)
	case "cancel":
		ended, err := c.w.Cancel(ctx, a.Unit)
		return map[string]any{"unit": a.Unit, "ended": ended}, err
	default:
		released, err := c.w.Release(ctx, a.Unit, a.Force)
		return map[string]any{"unit": a.Unit, "released": released}, err
	}
}

// seesAll tells whether a client is shown units whose types want signatures: if it is
// at the node, or has signed the request.
func (c *Command) seesAll(s Session, a ownArgs) (bool, error) {
	if s.Local() || a.Signature == "" || c.w.c.VerifyingKey == nil {
		return s.Local(), nil
	}
	err := c.authorize(s, true, a.Signature, c.signatureOf(signing.Request{Command: a.Sub, Unit: a.Unit, Submissions: a.Submissions}))
	return err == nil, err
}

// ownList shows what the client may see, and tells how much that it may not.
func (c *Command) ownList(s Session, a ownArgs) (any, error) {
	seesAll, err := c.seesAll(s, a)
	if err != nil {
		return nil, err
	}
	units := c.w.List()
	n := len(units)
	units = slices.DeleteFunc(units, func(u Status) bool { return u.Secure && !seesAll })
	for i := range units {
		units[i].History = nil // most of what there is to say of thousands
	}
	all := map[string]any{"units": units, "types": c.w.WorkTypes(), "nodes": c.w.Nodes()}
	if hidden := n - len(units); hidden > 0 {
		all["hidden"] = hidden
	}
	if d := c.w.Draining(); d != nil {
		all["draining"] = d
	}
	return all, nil
}

// ownType is a type of work that this node takes.
func (c *Command) ownType(ctx context.Context, a ownArgs) (any, error) {
	c.w.awaitOffer(ctx, a.Type)
	if c.w.Draining() != nil {
		return nil, ErrDraining
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	t := c.w.types[a.Type]
	if t == nil || !t.offered {
		return nil, fmt.Errorf("%w %.100s", ErrUnknownType, a.Type)
	}
	return TypeStatus{Name: t.Name, Secure: t.Secure}, nil
}

// ownSubmit takes a payload in frames: one that is cut off never looks whole.
func (c *Command) ownSubmit(ctx context.Context, s Session, a ownArgs) error {
	r, err := c.ownRequest(a)
	if err != nil {
		return err
	}
	if r.Node == "" {
		c.w.awaitOffer(ctx, a.Type)
	}
	secure := r.Node == "" && c.isSecure(a.Type)
	if u, err := c.w.store.BySubmission(a.Submission); err == nil {
		secure = secure || u.Spec.Secure // whatever is said of it now
	}
	r.unsigned = !secure && !s.Local()
	signed := signing.Request{Command: a.Sub, Type: a.Type, Params: a.Params, Payload: a.Payload, Submission: a.Submission, Merged: a.Merged}
	switch {
	case secure && !s.Local() && a.Signature != "" && a.Payload == "":
		err = &CommandError{CodeDenied, "the signature must cover the payload"}
	case secure || r.Node == "":
		err = c.authorize(s, secure, a.Signature, c.signatureOf(signed))
	}
	if err == nil && r.Node != "" && a.SignWork {
		r.Sign, err = true, c.maySign(s)
	}
	if err == nil {
		err = c.w.askNode(ctx, r)
	}
	if err != nil {
		return err
	}
	unit, err := c.w.Submit(r)
	if err != nil {
		return err
	}
	line, err := json.Marshal(map[string]any{"unit": unit.Unit.ID, "existing": unit.Existing, "phase": unit.Unit.Phase, "state": unit.Unit.State})
	if err != nil {
		return err
	}
	conn, err := s.Hijack(string(line))
	if err != nil {
		return errors.Join(err, unit.Abort("the connection was lost"))
	}
	defer func() { _ = conn.Close() }()
	err = receiveFrames(unit, newIdleReader(s, conn))
	if got := unit.payload.Digest(); err == nil && a.Payload != "" && unit.Unit.Phase == state.Receiving && got != a.Payload {
		err = &CommandError{CodeDenied, fmt.Sprintf("the payload's digest is %s, not the one that was announced", got)}
		c.w.noteDenied(a.Sub, unit.Unit.ID, a.Type, err)
	}
	if err != nil {
		err = errors.Join(err, unit.Abort("the payload did not arrive whole: "+err.Error()))
		sendEnd(conn, map[string]any{"error": commandError(err)})
		drain(conn)
		return nil
	}
	u, err := unit.Commit(ctx)
	if err != nil {
		sendEnd(conn, map[string]any{"error": commandError(err)})
		return nil
	}
	sendEnd(conn, map[string]any{"unit": u.Brief()})
	return nil
}

// ownRequest is what is asked for.
func (c *Command) ownRequest(a ownArgs) (Request, error) {
	r := Request{Type: a.Type, Params: a.Params, Submission: a.Submission, Merged: a.Merged}
	if a.Node == "" || c.isLocal(a.Node) {
		if a.TTL != "" || a.OnDisconnect != "" || a.Disconnect != "" {
			return r, fmt.Errorf("%w: ttl, on_disconnect and disconnect_time are for work on other nodes", ErrInvalid)
		}
		return r, nil
	}
	r.Node, r.TLSClient = a.Node, a.TLSClient
	var err error
	if r.TTL, err = duration("ttl", a.TTL); err != nil {
		return r, err
	}
	switch {
	case a.OnDisconnect == "fail" && a.Disconnect == "":
		r.Disconnect = defaultDisconnect
	case a.OnDisconnect == "fail":
		r.Disconnect, err = duration("disconnect_time", a.Disconnect)
	case a.OnDisconnect != "" && a.OnDisconnect != "wait":
		err = fmt.Errorf("%w: on_disconnect is %.40q, not wait or fail", ErrInvalid, a.OnDisconnect)
	case a.Disconnect != "":
		err = fmt.Errorf("%w: disconnect_time is for on_disconnect fail", ErrInvalid)
	}
	return r, err
}

// defaultDisconnect is how long a node may be away if that is to fail the unit and
// nobody says when: longer than a restart takes.
const defaultDisconnect = 10 * time.Minute

// duration parses an argument; empty is 0.
func duration(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%w: %s is %.40q, not a duration such as 90s or 1h30m", ErrInvalid, name, text)
	}
	return d, nil
}

// receiveFrames copies a payload up to its end.
func receiveFrames(to io.Writer, from io.Reader) error {
	buf := make([]byte, frame.MaxData)
	for {
		typ, data, err := frame.Read(from, buf)
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case typ == frame.End:
			return nil
		case typ != frame.Stdin:
			return fmt.Errorf("%w: type %d in a payload", frame.ErrFrame, typ)
		}
		if _, err := to.Write(data); err != nil {
			return err
		}
	}
}

// frameAt is where results are read into a buffer: the header of their frame goes before
// them. To a place that is no multiple of this the kernel copies several times slower.
const frameAt = 64

// ownResults sends what a unit has written, in frames, and at last the unit itself.
func (c *Command) ownResults(ctx context.Context, s Session, a ownArgs) error {
	var from From
	for _, f := range []struct {
		to    *int64
		given *int64
	}{{&from.Stdout, a.Stdout}, {&from.Stderr, a.Stderr}} {
		if f.given != nil {
			*f.to = max(*f.given, Skip)
		}
	}
	conn, err := s.Hijack(fmt.Sprintf(`{"unit":%q}`, a.Unit))
	if err != nil {
		return err
	}
	ctx, ended := untilReset(ctx, conn)
	defer ended()
	defer func() { _ = conn.Close() }()
	b := make([]byte, frameAt+resultsBuffer)
	u, err := c.w.results(ctx, a.Unit, from, b[frameAt:], func(chunk Chunk) error {
		typ := byte(frame.Stdout)
		if chunk.Stream == Stderr {
			typ = frame.Stderr
		}
		frame.AppendHeader(b[:frameAt-frame.Header], typ, len(chunk.Data))
		_, err := conn.Write(b[frameAt-frame.Header : frameAt+len(chunk.Data)])
		return err
	})
	if err != nil {
		sendEnd(conn, map[string]any{"error": commandError(err)})
		return nil
	}
	sendEnd(conn, map[string]any{"unit": u.Brief()})
	return nil
}

// sendEnd sends the last frame, of v, which can be marshalled. If that fails, the
// client is gone.
func sendEnd(conn io.Writer, v any) {
	b, _ := json.Marshal(v)
	_, _ = conn.Write(frame.Append(nil, frame.End, b))
}

// watchHeartbeat is how often a watcher hears something: so a client that has gone
// away is noticed.
const watchHeartbeat = 30 * time.Second

// ownWatch sends events {"seq":n,"units":[...]} until the client is gone.
func (c *Command) ownWatch(ctx context.Context, s Session, a ownArgs, emit func(any) error) error {
	seesAll, err := c.seesAll(s, a)
	if err != nil {
		return err
	}
	type event struct {
		Seq   uint64   `json:"seq"`
		Units []Status `json:"units"`
	}
	seq := a.Since
	if a.Submissions != "" { // so that the client knows that it is listened to
		if err := emit(event{seq, []Status{}}); err != nil {
			return err
		}
	}
	for {
		beat, cancel := context.WithTimeout(ctx, watchHeartbeat)
		err := c.w.Watch(beat, seq, func(changed []Status, next uint64) error {
			seq = next
			changed = slices.DeleteFunc(changed, func(u Status) bool {
				return u.Secure && !seesAll || a.Unit != "" && u.ID != a.Unit || !strings.HasPrefix(u.Submission, a.Submissions)
			})
			if len(changed) == 0 {
				return nil
			}
			return emit(event{seq, changed})
		})
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err := emit(event{seq, []Status{}}); err != nil {
			return err
		}
	}
}
