package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/project-receptor/receptor/plug/wire"
)

// adopted is a node that was found at work, by a launcher that comes after one
// that was killed.
type adopted struct {
	observer *observer
	core     *os.Process
	plugs    map[string]*os.Process // by program; those that are not there are to be started
}

// adopt finds out whether the node runs already, and gets hold of its processes.
// It returns nil if nothing answers at its socket. The error says why a node that
// runs is not ours to look after.
func (n *node) adopt(ctx context.Context) (*adopted, error) {
	if !canHold {
		return nil, nil
	}
	o, err := observe(ctx, n.config.PlugSocket())
	var refused *wire.Error
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("node %s is already running here, and lets no launcher in: %s", n.config.NodeID, refused.Msg)
	case err != nil:
		return nil, nil // nobody is there, or the core that is started now says what is wrong
	}
	a := &adopted{observer: o, plugs: map[string]*os.Process{}}
	if err := a.holdAll(ctx, n); err != nil {
		o.close()
		return nil, err
	}
	return a, nil
}

// holdAll gets hold of the core and of the plugs that the node needs.
func (a *adopted) holdAll(ctx context.Context, n *node) error {
	o := a.observer
	already := fmt.Sprintf("node %s is already running here (core pid %d)", o.node, o.core.PID)
	if o.node != n.config.NodeID {
		return fmt.Errorf("%s: its socket %s is not free for node %s", already, n.config.PlugSocket(), n.config.NodeID)
	}
	ours := func(uid int64) bool { return uid == int64(n.as.uid()) }
	if !ours(int64(o.core.UID)) {
		return fmt.Errorf("%s, as user %d, and is to run as user %d: stop it first, or say --user", already, o.core.UID, n.as.uid())
	}
	var err error
	if a.core, err = hold(o.core.PID); err != nil {
		return fmt.Errorf("%s, and cannot be looked after: %w", already, err)
	}
	before, err := o.look(ctx) // answered: it is the core that we hold
	if err != nil {
		return err
	}
	if before.Items != n.digest {
		return fmt.Errorf("%s, with other items: stop it first", already)
	}
	for _, p := range n.plugs {
		if at := slices.IndexFunc(before.Plugs, p.is); at >= 0 && ours(before.Plugs[at].UID) {
			if held, err := hold(before.Plugs[at].PID); err == nil {
				a.plugs[p.Name] = held
			}
		}
	}
	// Who is attached still has its number still: it was given to nobody else.
	after, err := o.look(ctx)
	if err != nil {
		return err
	}
	for _, p := range n.plugs {
		at := slices.IndexFunc(after.Plugs, p.is)
		if at < 0 {
			delete(a.plugs, p.Name) // to be started
			continue
		}
		there := after.Plugs[at]
		if held := a.plugs[p.Name]; held == nil || held.Pid != there.PID {
			return fmt.Errorf("%s, and its plug %s (user %d, pid %d) cannot be looked after", already, there.Name, there.UID, there.PID)
		}
	}
	return nil
}

// plug returns the process of a plug that was found, or nil.
func (a *adopted) plug(program string) *os.Process {
	if a == nil {
		return nil
	}
	return a.plugs[program]
}

// is tells whether an attached plug is this one: it has kinds that are this one's.
func (p *Plug) is(there wire.AttachedPlug) bool {
	return slices.ContainsFunc(p.Kinds, func(k wire.Kind) bool { return slices.Contains(there.Kinds, k.Kind) })
}
