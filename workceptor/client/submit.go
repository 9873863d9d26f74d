package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/frame"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Job is what is wanted.
type Job struct {
	Node   string            // that is to run it; empty: the one that is asked
	Type   string            // of work
	Params map[string]string // those named secret_* are told to the worker only

	// Payload is the unit's standard input; nil: it is empty. No more than a frame of
	// it is in memory. If it is an io.Seeker, an upload that was cut is repeated,
	// from where it stood. A Read that waits holds Submit up, even if ctx is done.
	Payload io.Reader

	// Submission is a name for this job, best of 128 random bits: the same one is the
	// same unit, and never runs twice. Empty: a random one, for this call. Who keeps
	// it can ask again after a crash.
	Submission string

	// PayloadSHA256 is the digest of Payload, hexadecimal, for a request that is signed.
	PayloadSHA256 string

	// Merged has stderr go where stdout goes, as with legacy nodes.
	Merged bool

	// What follows is for jobs of other nodes.

	// TTL is how long it may take until the unit has begun there. 0: as long as it
	// takes, but there must be a way to the node now.
	TTL time.Duration
	// TLSClient names the TLS client profile for the way there. Without one, Params
	// named secret_* are refused.
	TLSClient string
	// SignWork has the node that is asked sign for the unit, which it does only for
	// clients on its Unix socket.
	SignWork bool
	// OnDisconnect is what becomes of a unit whose node goes away. With Fail it is Lost
	// when the node has been away for DisconnectTime; 0: 10 minutes.
	OnDisconnect   OnDisconnect
	DisconnectTime time.Duration

	// Progress, if it is not nil, is told how much of the payload was sent; less than
	// before if it is sent again.
	Progress func(sent int64)
}

// OnDisconnect is what becomes of a unit whose node goes away.
type OnDisconnect string

// What can become of it.
const (
	Wait OnDisconnect = "wait" // for the node; so it is, too, if nothing is said
	Fail OnDisconnect = "fail"
)

// Submit makes a unit of a job. It is on the node's disk, whole, when this returns,
// and its worker has taken or refused it; or it waits, for a slot or for its worker.
// A unit that was refused is no error: it is Failed, its Started is zero, and its
// Detail says why. So it is with what another node says against a job, which is there
// if it says so within 2 s, and in the end of the unit in any case: Refusal makes an
// error of that.
//
// An error of ctx, or ErrLost, leaves open whether there is a unit: another Submit with
// the same Submission finds out. With a random one nobody can ask again, and a unit
// that there is is released, if the node can be told.
func (c *Client) Submit(ctx context.Context, job Job) (u Status, err error) {
	ours := job.Submission == ""
	if ours {
		job.Submission = newSubmission()
	}
	p, made := newPayload(job.Payload), ""
	err = c.persist(ctx, func(t *try) (err error) {
		unit := ""
		u, err = c.submitOnce(ctx, job, p, &unit)
		if unit != "" {
			made, t.answered, t.progress = unit, true, true
		}
		return err
	})
	if err != nil && ours && made != "" {
		err = errors.Join(err, c.withdraw(ctx, made))
	}
	return u, err
}

// withdraw releases a unit that nobody can finish, nor ask for.
func (c *Client) withdraw(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	once := Client{Dial: c.Dial, Patience: -1}
	if _, err := once.Release(ctx, unit, true); err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("release unit %s: %w", unit, err)
	}
	return nil
}

// withdrawTimeout is what somebody who has given up waits for a node that may not be
// there.
const withdrawTimeout = 5 * time.Second

func newSubmission() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// submitOnce does it over one connection, and notes in *unit what was made.
func (c *Client) submitOnce(ctx context.Context, job Job, p *payload, unit *string) (u Status, err error) {
	a := args{
		Sub: "submit", Node: job.Node, Type: job.Type, Params: job.Params, Submission: job.Submission, Merged: job.Merged, Payload: job.PayloadSHA256,
		TLSClient: job.TLSClient, TTL: duration(job.TTL), SignWork: job.SignWork, OnDisconnect: job.OnDisconnect, Disconnect: duration(job.DisconnectTime),
	}
	if err := c.sign(ctx, &a); err != nil {
		return u, err
	}
	v, err := c.begin(ctx)
	if err != nil {
		return u, err
	}
	defer v.close()
	var made struct {
		Unit  string
		Phase state.Phase
	}
	err = v.call(a, &made)
	if err != nil {
		return u, err
	}
	*unit = made.Unit
	if made.Phase == state.Receiving {
		err = p.rewind()
	} else {
		p = newPayload(nil) // the node has had it, and only its answer was lost
	}
	if err == nil {
		u, err = v.upload(p, job.Progress)
	}
	if e := (*payloadFault)(nil); errors.As(err, &e) {
		err = &PayloadError{Unit: made.Unit, Submission: job.Submission, Err: e.error}
	}
	return u, err
}

// duration is one as an argument. What makes no sense is for the node to refuse.
func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// upload sends a payload, and reads the answer, which comes before the end of it
// where the node does not want it.
func (v *conversation) upload(p *payload, progress func(int64)) (Status, error) {
	type answer struct {
		unit Status
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		typ, data, err := frame.Read(v.in, make([]byte, frame.MaxData))
		switch {
		case err != nil && !errors.Is(err, frame.ErrFrame):
			answered <- answer{err: lost("read answer", noEOF(err))}
		case err != nil:
			answered <- answer{err: err}
		case typ != frame.End:
			answered <- answer{err: fmt.Errorf("%w: type %d instead of an answer", frame.ErrFrame, typ)}
		default:
			u, err := end(data)
			answered <- answer{u, err}
		}
	}()
	var b [frame.Header + frame.MaxData]byte
	for whole := false; !whole; {
		n, err := p.Read(b[frame.Header:])
		switch whole = errors.Is(err, io.EOF); {
		case err != nil && !whole:
			_ = v.conn.Close() // so that the node does not take it for the whole
			<-answered
			return Status{}, err
		case whole && n > 0:
			whole = false // it says so again
		case whole:
			b[0] = frame.End
		default:
			b[0] = frame.Stdin
		}
		binary.BigEndian.PutUint32(b[1:], uint32(n))
		if _, err := v.conn.Write(b[:frame.Header+n]); err != nil {
			// If the node has said why, that is there by now, or on its way.
			late := time.AfterFunc(lastWord, func() { _ = v.conn.Close() })
			defer late.Stop()
			a := <-answered
			if errors.As(a.err, new(*lostError)) {
				a.err = lost("send payload", err)
			}
			return a.unit, a.err
		}
		if progress != nil && n > 0 {
			progress(p.at)
		}
		select {
		case a := <-answered:
			return a.unit, a.err
		default:
		}
	}
	a := <-answered
	return a.unit, a.err
}

// lastWord is how long after a failed write the node's reason may take to arrive.
const lastWord = 5 * time.Second

// payload is what is sent, as often as it must and can be.
type payload struct {
	from io.Reader
	seek io.Seeker // nil: it can be read once
	base int64     // where it stood at first
	at   int64     // bytes that were read since
}

func newPayload(r io.Reader) *payload {
	p := &payload{from: r}
	if s, ok := r.(io.Seeker); ok {
		if base, err := s.Seek(0, io.SeekCurrent); err == nil { // not of a pipe
			p.seek, p.base = s, base
		}
	}
	return p
}

// payloadFault is an error of the payload itself.
type payloadFault struct{ error }

// Unwrap returns it.
func (e *payloadFault) Unwrap() error { return e.error }

var errOnce = errors.New("the connection was cut, and the payload can be read only once")

// rewind goes back to the beginning.
func (p *payload) rewind() error {
	switch {
	case p.at == 0:
		return nil
	case p.seek == nil:
		return &payloadFault{errOnce}
	}
	if _, err := p.seek.Seek(p.base, io.SeekStart); err != nil {
		return &payloadFault{fmt.Errorf("go back to its beginning: %w", err)}
	}
	p.at = 0
	return nil
}

// Read implements io.Reader.
func (p *payload) Read(b []byte) (int, error) {
	if p.from == nil {
		return 0, io.EOF
	}
	n, err := p.from.Read(b)
	p.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &payloadFault{err}
	}
	return n, err
}
