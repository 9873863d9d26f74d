package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/workceptor"
)

// unitsDir is where units of work are, in the state directory of the node.
const unitsDir = "units"

// workersIn is what workers have to come when the node starts: they try every 5 s at
// most. Until then whoever submits work of an unknown type waits, and is not told that
// there is none.
const workersIn = 6 * time.Second

// openWork opens the units of work of the node. Without a usable state directory it
// is a node without any: it still carries what others say to each other.
func (c *Core) openWork() {
	cfg := &c.o.Config
	w, err := workceptor.New(workceptor.Config{
		Dir:    filepath.Join(cfg.DataDir, cfg.NodeDir(), unitsDir),
		NodeID: cfg.NodeID,
		Logger: c.log.Named("work"),
		Mesh:   WorkMesh(c.node, c.tls),
		Offers: c.advertiseWork,

		SigningKey:   cfg.SigningKey,
		TokenLife:    cfg.TokenLife,
		VerifyingKey: cfg.VerifyingKey,
		Unsigned:     cfg.Unsigned,

		Retention: cfg.Retain,
		Early:     workersIn,
	})
	if err != nil {
		c.log.Warn("no units of work on this node", "error", err)
		return
	}
	c.work = w
}

// advertiseWork tells the mesh which types of work are to be had here.
func (c *Core) advertiseWork(types []workceptor.TypeStatus) {
	all := make([]netceptor.WorkCommand, len(types))
	for i, t := range types {
		all[i] = netceptor.WorkCommand{WorkType: t.Name, Secure: t.Secure}
	}
	if err := c.node.SetWorkCommands(all); err != nil {
		c.log.Error("cannot tell the mesh which types of work are to be had here", "error", err)
	}
}

// workStatus is what the status of the node tells of its units.
func (c *Core) workStatus() map[string]any {
	return map[string]any{"types": c.work.WorkTypes(), "nodes": c.work.Nodes(), "draining": c.work.Draining()}
}

// workers is who has work for plugs; nil: nobody.
func (c *Core) workers() plug.WorkerHost {
	if c.work == nil {
		return nil
	}
	return c.work.Plugs()
}

// closeWork closes the units. Whoever uses them has ended.
func (c *Core) closeWork() error {
	if c.work == nil {
		return nil
	}
	return c.work.Close()
}

// WorkCommand joins the command work to the control conversation.
func WorkCommand(work *workceptor.Command) control.Command {
	return control.Command{
		Name: "work",
		Plain: func(ctx context.Context, s control.Session, args *string, params map[string]json.RawMessage) (any, error) {
			return work.Plain(ctx, s, args, params)
		},
		Own: func(ctx context.Context, s control.Session, args json.RawMessage, emit func(any) error) (any, error) {
			result, err := work.Own(ctx, s, args, emit)
			if e := (*workceptor.CommandError)(nil); errors.As(err, &e) {
				err = &control.Error{Code: e.Code, Msg: e.Msg}
			}
			return result, err
		},
	}
}

// controlService is where other nodes are asked to run units, as with legacy nodes.
const controlService = "control"

// WorkMesh joins a node, and the TLS profiles for the way to others, to its units.
func WorkMesh(n *netceptor.Node, tls *mtls.Set) workceptor.Mesh { return workMesh{n, tls} }

type workMesh struct {
	node *netceptor.Node
	tls  *mtls.Set
}

// Dial implements workceptor.Mesh.
func (m workMesh) Dial(ctx context.Context, node, tlsClient string) (io.ReadWriteCloser, error) {
	conn, err := control.ForNode(m.node, m.tls).Dial(ctx, node, controlService, tlsClient)
	if err == nil {
		return conn, nil
	}
	for _, lasting := range []error{netceptor.ErrServiceUnknown, netceptor.ErrUntrusted, netceptor.ErrBlocked, control.ErrTLSClient} {
		if errors.Is(err, lasting) {
			return nil, fmt.Errorf("%w: %w", workceptor.ErrUnwilling, err)
		}
	}
	return nil, err
}

// Check implements workceptor.Mesh.
func (m workMesh) Check(node, tlsClient string) error {
	if _, err := m.tls.Client(tlsClient); err != nil {
		return fmt.Errorf("%w %s", control.ErrTLSClient, tlsClient)
	}
	if len(m.node.Explain(node, controlService).Path) == 0 {
		return fmt.Errorf("%w %s", workceptor.ErrUnknownNode, node)
	}
	return nil
}

// Ours implements workceptor.Mesh.
func (m workMesh) Ours(node string) bool { return m.node.Explain(node, controlService).Ours }

// Await implements workceptor.Mesh.
func (m workMesh) Await(ctx context.Context, node string, reachable bool) error {
	return m.node.WaitFor(ctx, func(s netceptor.Status) bool {
		_, is := s.RoutingTable[node]
		return is == reachable
	})
}
