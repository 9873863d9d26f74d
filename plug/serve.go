package plug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// targetTimeout leaves time for the answer within that of ACCEPT.
	targetTimeout = wire.RequestTimeout - time.Second

	// unbindTimeout bounds the farewell to a core that may have stopped.
	unbindTimeout = 2 * time.Second
)

// Service is a stream service that a plug serves on its node.
type Service struct {
	Name      string
	Advertise bool
	Tags      map[string]string
}

// TargetFunc opens the local end of a stream that has arrived from a node's
// service: a connected TCP or Unix socket, as those of socket.Pair are. Whatever else it
// returns needs a CloseWrite, or the stream is reset where one direction ends. An error
// refuses the stream; its text goes to the other side.
type TargetFunc func(ctx context.Context, from Target) (net.Conn, error)

// binding is a service that is bound, or to be bound again.
type binding struct {
	item    *Item
	target  TargetFunc
	streams sync.WaitGroup
}

// Serve binds a service and calls target for each stream that arrives; the
// returned socket, from which nothing was read, is joined to it as by CarryDial:
// handed over, or relayed. The item is up, with the service as its address, once
// bound. Serve returns when ctx is done (nil, after UNBIND and the end of the
// streams that it relays) or the service cannot be bound; a lost
// core is waited for, and the service bound again. A plug that stops leaves the
// service bound: what arrives then waits for its next process.
func (it *Item) Serve(ctx context.Context, s Service, target TargetFunc) error {
	r := it.runner
	id := it.ID + " service=" + s.Name // the same after a restart
	b := &binding{item: it, target: target}
	r.mu.Lock()
	taken := r.binds[id] != nil
	if !taken {
		r.binds[id] = b
	}
	r.mu.Unlock()
	if taken {
		return fmt.Errorf("service %s is served already", s.Name)
	}
	err := it.bind(ctx, wire.Bind{Bind: id, Item: it.ID, Service: s.Name, Advertise: s.Advertise, Tags: s.Tags})
	r.mu.Lock()
	delete(r.binds, id) // no stream is accepted from here on
	r.mu.Unlock()
	b.streams.Wait()
	return err
}

// bind keeps a service bound until ctx is done.
func (it *Item) bind(ctx context.Context, body wire.Bind) error {
	var core *attachment
	for {
		var err error
		if core, err = it.runner.await(ctx, core); err != nil {
			return nil // ctx is done, and there is no core to tell
		}
		var bound wire.Bound
		err = core.session.Call(ctx, wire.TypeBind, body, &bound)
		var refused *wire.Error
		switch {
		case errors.As(err, &refused):
			return fmt.Errorf("bind service %s: %w", body.Service, err)
		case err == nil:
			it.Up(bound.Service)
		case ctx.Err() == nil && !errors.Is(err, session.ErrClosed): // no answer in time
			return fmt.Errorf("bind service %s: %w", body.Service, err)
		}
		select {
		case <-ctx.Done():
			if !it.runner.stops() {
				it.unbind(ctx, core, body.Bind)
			}
			return nil
		case <-core.session.Done():
		}
	}
}

func (it *Item) unbind(ctx context.Context, core *attachment, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unbindTimeout)
	defer cancel()
	if err := core.session.Call(ctx, wire.TypeUnbind, wire.Unbind{Bind: id}, nil); err != nil {
		it.Log.Debug("cannot give the service up, the core will when this session ends", "error", err)
	}
}

// accepted answers ACCEPT: it opens the target, and hands that over, or carries
// the stream in a goroutine of its own.
func (r *runner) accepted(ctx context.Context, core *attachment, q *session.Request, a wire.Accept) (any, error) {
	r.mu.Lock()
	b, stops := r.binds[a.Bind], r.closing
	if b != nil {
		b.streams.Add(1)
	}
	r.mu.Unlock()
	if b == nil && stops {
		q.Later(func() {}) // the end of the session is the answer: the core offers the stream to the next process
		return nil, nil
	}
	if b == nil {
		return nil, wire.NewError(wire.CodeNotFound, "nothing is bound as %s", a.Bind)
	}
	app, err := b.open(ctx, Target(a.Remote))
	if err != nil {
		b.streams.Done()
		return nil, err
	}
	if d := core.passable(app, wire.TypeAccept); d != nil {
		b.streams.Done()
		return session.Answer{Body: wire.Accepted{}, Socket: d}, nil // armed: if it does not arrive, that is a reset
	}
	go func() { // Serve waits for it
		defer b.streams.Done()
		if err := b.carry(core, app, a.Object); err != nil {
			b.item.Log.Debug("stream ended early", "from", Target(a.Remote).String(), "error", err)
		}
	}()
	return wire.Accepted{}, nil
}

// open opens the local end of a stream.
func (b *binding) open(ctx context.Context, from Target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	defer context.AfterFunc(b.item.accept, cancel)()
	app, err := b.target(ctx, from)
	var told *wire.Error
	switch {
	case errors.As(err, &told):
		return nil, told
	case err != nil:
		return nil, wire.NewError(wire.CodeRefused, "%v", err)
	}
	armReset(app)
	if err := ctx.Err(); err != nil { // nobody waits for it any more
		_ = app.Close()
		return nil, wire.NewError(wire.CodeCanceled, "%v", err)
	}
	return app, nil
}

// carry attaches to an accepted stream and joins it to its local end.
func (b *binding) carry(core *attachment, app net.Conn, object string) error {
	ctx, cancel := context.WithTimeout(b.item.carry, wire.AttachTimeout)
	defer cancel()
	conn, err := b.item.runner.open(ctx, wire.TypeAttach, wire.Attach{Session: core.secret, Object: object})
	if err != nil {
		_ = app.Close()
		return fmt.Errorf("attach to the stream: %w", err)
	}
	return b.item.join(app, recordconn.New(conn))
}
