package core

import (
	"path/filepath"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
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
		Mesh:   control.WorkMesh{Node: c.node, TLS: c.tls},
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

// workCommand is the command work of the control conversation.
func (c *Core) workCommand() control.Command {
	w := c.work.Command()
	return control.Command{Name: "work", Plain: w.Plain, Own: w.Own}
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
