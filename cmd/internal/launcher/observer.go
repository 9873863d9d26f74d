package launcher

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/buildinfo"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// observerName is what launchers are attached as. A core gives a name once, so
// that one launcher at a time looks after a node.
const observerName = "launcher"

// observer is a session with the core of a node that runs.
type observer struct {
	node    string
	core    socket.Cred // who serves the socket
	session *session.Session
	running sync.WaitGroup
}

// observe attaches to the core at a plug socket. A refusal is a *wire.Error.
func observe(ctx context.Context, path string) (*observer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := socket.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	o, err := attach(ctx, conn)
	if err != nil {
		_ = conn.Close() // the error says more
		return nil, err
	}
	return o, nil
}

func attach(ctx context.Context, conn net.Conn) (*observer, error) {
	cred, err := socket.PeerCred(conn)
	if err != nil {
		return nil, err
	}
	w, err := session.Attach(ctx, conn, wire.Hello{
		Name: observerName, Program: "receptor", ProgramVersion: buildinfo.Version(), Process: rand.Text(),
		Roles: []wire.RoleVersions{{Role: wire.RoleObserve, Versions: []int{1}}}, Kinds: []wire.Kind{},
	})
	if err != nil {
		return nil, err
	}
	for _, r := range w.Roles {
		if r.Refused != "" {
			return nil, wire.NewError(wire.CodeDenied, "role %s: %s", r.Role, r.Refused)
		}
	}
	o := &observer{node: w.Node, core: cred, session: session.New(session.Config{
		Conn:      conn,
		Side:      session.SidePlug,
		Handler:   answer,
		Heartbeat: time.Duration(w.HeartbeatMS) * time.Millisecond,
	})}
	o.running.Go(func() { _ = o.session.Run(context.Background()) }) // until close, or the core's end, which shows elsewhere
	return o, nil
}

// answer answers the core: no kinds are claimed, so no items come.
func answer(_ context.Context, r *session.Request) (any, error) {
	if r.Type == wire.TypeConfig {
		return wire.ConfigResult{}, nil
	}
	return nil, session.ErrUnsupported
}

// look asks what the core runs now.
func (o *observer) look(ctx context.Context) (wire.Looked, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var l wire.Looked
	if err := o.session.Call(ctx, wire.TypeLook, struct{}{}, &l); err != nil {
		return l, fmt.Errorf("look at node %s: %w", o.node, err)
	}
	return l, nil
}

// close detaches. It may be called on nil.
func (o *observer) close() {
	if o != nil {
		o.session.Close(nil)
		o.running.Wait()
	}
}
