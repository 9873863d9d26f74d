// Package core assembles a node from its configuration: the mesh, the plug
// socket, and the control conversation on Unix sockets and on the mesh.
package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/workceptor"
)

// Options are what a core is made of.
type Options struct {
	Config  config.Core
	Items   []config.Item // of all other kinds: they wait for plugs
	Digest  string        // of all items, for the launcher; empty: none
	Logger  hclog.Logger
	Version string

	// Ready gets a line READY and is closed once plugs can attach; nil: nobody waits.
	Ready io.WriteCloser

	// StopTimeout limits an orderly stop. 0: 10 s.
	StopTimeout time.Duration
}

// stopTimeout is long enough for what is queued on a slow link, and short
// enough for a service manager.
const stopTimeout = 10 * time.Second

// Core is a node with all that serves it.
type Core struct {
	o       Options
	log     hclog.Logger
	tls     *mtls.Set // the profiles that items name
	node    *netceptor.Node
	host    *plughost.Host
	control *control.Server
	work    *workceptor.Workceptor // nil: there is no state directory
	plugs   net.Listener
	clients []net.Listener // of the control conversation
}

// New makes a core and takes its sockets. An error is a matter of the
// configuration, or of a node that runs already: trying again does not help.
func New(ctx context.Context, o Options) (_ *Core, err error) {
	if o.StopTimeout == 0 {
		o.StopTimeout = stopTimeout
	}
	c := &Core{o: o, log: o.Logger}
	if c.tls, err = o.Config.LoadTLS(o.Logger.Named("tls")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.closeListeners())
		}
	}()
	// The lock of the plug socket comes first: of two cores only the one that
	// holds it may touch the state.
	if c.plugs, err = c.listenPlugs(); err != nil {
		return nil, err
	}
	if err := c.listenClients(); err != nil {
		return nil, err
	}
	c.warnOfTLS()
	if err := c.makeNode(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Core) listenPlugs() (net.Listener, error) {
	cfg := &c.o.Config
	path := cfg.PlugSocket()
	l, err := socket.Listen(path, socket.Options{Mode: cfg.Plugs.Mode, Group: cfg.Plugs.Group})
	if errors.Is(err, socket.ErrLocked) {
		return nil, fmt.Errorf("node %s is already running here (socket %s is locked)", cfg.NodeID, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the plug socket: %w", err)
	}
	return l, nil
}

func (c *Core) listenClients() error {
	cfg := &c.o.Config
	if cfg.Plugs.ControlGroup != cfg.Plugs.Group {
		if err := letPass(filepath.Dir(cfg.ControlSocket())); err != nil {
			return fmt.Errorf("open the directory of the control socket to two groups: %w", err)
		}
	}
	l, err := socket.Listen(cfg.ControlSocket(), socket.Options{Mode: cfg.Plugs.Mode, Group: cfg.Plugs.ControlGroup})
	if err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	c.clients = append(c.clients, l)
	for _, s := range cfg.Control {
		if s.Filename != "" {
			l, err := listenControl(s)
			if err != nil {
				return fmt.Errorf("%s: open the socket: %w", s.Label, err)
			}
			c.clients = append(c.clients, l)
		}
		if s.TCP != "" {
			l, err := c.listenTCP(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Label, err)
			}
			c.clients = append(c.clients, l)
		}
	}
	return nil
}

func (c *Core) makeNode(ctx context.Context) error {
	cfg := &c.o.Config
	id, err := loadIdentity(ctx, c.log, cfg.DataDir, cfg.NodeDir())
	if err != nil {
		return err
	}
	c.node, err = netceptor.New(netceptor.Config{
		NodeID:            cfg.NodeID,
		Logger:            c.log.Named("mesh"),
		Epoch:             id.epoch,
		StatelessResetKey: id.resetKey,
		SigningKey:        id.signKey,
		TemporaryKey:      !id.kept,
		Version:           c.o.Version,
		MaxIdle:           cfg.MaxIdle,
		RequireTLS:        cfg.NeedTLS,
		Firewall:          cfg.Firewall,
	})
	if err != nil {
		return fmt.Errorf("make node %s: %w", cfg.NodeID, err)
	}
	c.openWork()
	c.host, err = plughost.New(plughost.Config{
		Node:      c.node,
		Logger:    c.log.Named("plugs"),
		Version:   c.o.Version,
		Policy:    cfg.Plugs.Policy,
		CoreKinds: config.Names(),
		TLS:       c.tls,
		Workers:   c.workers(),
		Digest:    c.o.Digest,
	})
	if err != nil {
		return fmt.Errorf("serve plugs: %w", err)
	}
	c.control = control.New(control.Config{NodeID: cfg.NodeID, Logger: c.log.Named("control")})
	c.control.Register(control.MeshCommands(countedMesh{control.ForNode(c.node, c.tls), c.host, c.work}, c.status)...)
	if c.work != nil {
		c.control.Register(c.workCommand())
	}
	return nil
}

// warnOfTLS says what the TLS profiles leave open. Links without TLS are items,
// and warn by themselves.
func (c *Core) warnOfTLS() {
	for _, p := range c.tls.Status() {
		if p.Warning != "" {
			c.log.Warn("TLS profile leaves something open", "profile", p.Kind+" "+p.Name, "warning", p.Warning)
		}
	}
}

// status is what the core adds to the status of the node.
func (c *Core) status() map[string]any {
	all := map[string]any{"items": c.host.Items(), "plugs": c.host.Plugs(), "tls": c.tls.Status()}
	if c.work != nil {
		all["work"] = c.workStatus()
	}
	return all
}

// countedMesh is the mesh as control sees it, with what the plug host and the units
// count among the counters of the node.
type countedMesh struct {
	control.Mesh
	host *plughost.Host
	work *workceptor.Workceptor // nil: there are none
}

// Status is that of the node. The counters are a copy, which is ours to add to.
func (m countedMesh) Status() netceptor.Status {
	s := m.Mesh.Status()
	for what, n := range m.host.Counters() {
		s.Counters[what] += n
	}
	if m.work != nil {
		s.Counters["work_requests_denied"] += m.work.Denied()
	}
	return s
}

// Run brings the core to life until ctx is done, and then ends it in order. It
// is called once.
func (c *Core) Run(ctx context.Context) error {
	if err := c.node.Start(); err != nil {
		return errors.Join(fmt.Errorf("start node: %w", err), c.closeListeners(), c.closeWork())
	}
	mesh, err := c.listenMesh()
	if err != nil {
		return errors.Join(err, c.closeListeners(), c.node.Close(), c.closeWork())
	}
	if c.work != nil {
		if err := c.work.Start(); err != nil {
			return errors.Join(fmt.Errorf("bring back units of work: %w", err), c.closeListeners(), c.node.Close(), c.closeWork())
		}
	}
	items := make([]plughost.Item, len(c.o.Items))
	for i, item := range c.o.Items {
		items[i] = plughost.Item(item)
	}
	c.host.SetItems(items)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var serving sync.WaitGroup
	serve := func(what string, f func(context.Context, net.Listener) error, l net.Listener) {
		serving.Go(func() {
			if err := f(ctx, l); err != nil {
				cancel(fmt.Errorf("%s: %w", what, err)) // half a node is worse than a new one
			}
		})
	}
	serve("serve plugs", c.host.Serve, c.plugs)
	for _, l := range append(mesh, c.clients...) {
		serve("serve control conversations", c.control.Serve, l)
	}

	c.log.Info("node is up", "node", c.o.Config.NodeID, "plugs", c.o.Config.PlugSocket(), "control", c.o.Config.ControlSocket(), "version", c.o.Version)
	c.ready()
	<-ctx.Done()
	c.log.Info("stopping")
	c.tell("STOPPING=1")
	return c.stop(context.Cause(ctx), &serving)
}

// listenMesh opens the control services on the mesh.
func (c *Core) listenMesh() ([]net.Listener, error) {
	var all []net.Listener
	for _, s := range c.o.Config.Control {
		profile, err := c.tls.Server(s.TLS)
		if err != nil {
			return nil, fmt.Errorf("%s: parameter tls: %w", s.Label, err)
		}
		l, err := c.node.Listen(s.Service, netceptor.ListenOptions{
			Advertise: true, Tags: map[string]string{"type": "Control Service"}, TLS: profile,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: open service %s: %w", s.Label, s.Service, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// stop waits for what serves, then for the node, StopTimeout at most.
func (c *Core) stop(why error, serving *sync.WaitGroup) error {
	ended := make(chan error, 1)
	go func() { // ends with the process if it does not in time
		serving.Wait()
		ended <- errors.Join(c.node.Close(), c.closeWork())
	}()
	if errors.Is(why, context.Canceled) {
		why = nil // as asked
	}
	select {
	case err := <-ended:
		return errors.Join(why, err)
	case <-time.After(c.o.StopTimeout):
		return errors.Join(why, fmt.Errorf("not everything has ended within %v", c.o.StopTimeout))
	}
}

// ready tells whoever started the core that it is up. They may be gone.
func (c *Core) ready() {
	c.tell("READY=1\nSTATUS=node " + c.o.Config.NodeID)
	if c.o.Ready == nil {
		return
	}
	_, err := io.WriteString(c.o.Ready, "READY\n")
	if err := errors.Join(err, c.o.Ready.Close()); err != nil {
		c.log.Warn("cannot tell the launcher that the node is up", "error", err)
	}
}

// tell passes the state on to systemd; the node works without it.
func (c *Core) tell(state string) {
	if err := notify(state); err != nil {
		c.log.Warn("cannot tell the service manager", "error", err)
	}
}

func (c *Core) closeListeners() error {
	var errs []error
	if c.plugs != nil {
		errs = append(errs, c.plugs.Close())
	}
	for _, l := range c.clients {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
