package workceptor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// askPatience is how long a submitter waits for the node that is to run a unit to say
// whether it would. Later it is only told what has become of the unit.
const askPatience = 2 * time.Second

// askNode asks the node that is to run a unit whether it would, so that who submits it
// hears of a mistake before the payload is sent. Who has time for the unit, by a TTL,
// waits for whatever is amiss; and a node that just does not answer is waited for.
func (w *Workceptor) askNode(ctx context.Context, r Request) error {
	if _, err := w.store.BySubmission(r.Submission); err == nil {
		return nil // it is no new unit
	}
	if r.Node == "" || r.TTL != 0 || w.c.Mesh == nil || w.Draining() != nil || r.TLSClient != "" && !w.c.Mesh.Profile(r.TLSClient) {
		return nil // or Submit says it
	}
	reached, ours := w.c.Mesh.Reach(r.Node)
	if !reached {
		return nil // likewise
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	dial := func(ctx context.Context) (io.ReadWriteCloser, error) {
		conn, err := w.c.Mesh.Dial(ctx, r.Node, r.TLSClient)
		if unwilling(err) {
			refuse(err)
		}
		return conn, err
	}
	var err error
	if ours {
		var t client.TypeStatus
		if t, err = (&client.Client{Dial: dial}).Type(ctx, r.Type); err == nil {
			return r.fits(t)
		}
	} else if !w.converses(r) {
		var conn io.Closer
		if conn, err = dial(ctx); err == nil {
			_ = conn.Close() // nothing was said
		}
	}
	var answer *client.Error
	switch {
	case errors.Is(err, client.ErrUnknownType):
		return fmt.Errorf("%w %s at node %s", ErrUnknownType, r.Type, r.Node)
	case errors.As(err, &answer) && answer.Code == CodeDraining:
		return &CommandError{CodeDraining, fmt.Sprintf("node %s: %v", r.Node, err)}
	case unwilling(err):
		return &CommandError{CodeUnreachable, fmt.Sprintf("node %s: %v", r.Node, err)}
	}
	return nil
}

// converses tells whether the conversation with the node of a request stands.
func (w *Workceptor) converses(r Request) bool {
	w.mu.Lock()
	n := w.remotes[state.RemotePlace(r.Node, r.TLSClient)]
	w.mu.Unlock()
	return n != nil && n.status().Alive
}

// fits tells whether a node takes such a request for a type of work that it has.
func (r Request) fits(t client.TypeStatus) error {
	switch {
	case t.Secure && !r.Sign:
		return fmt.Errorf("%w: node %s takes work of type %s only if it is signed", ErrInvalid, r.Node, r.Type)
	case !t.Secure && r.Sign:
		return fmt.Errorf("%w: node %s: work type did not expect a signature", ErrInvalid, r.Node)
	}
	return nil
}
