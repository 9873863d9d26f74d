package commandservice

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/project-receptor/receptor/command-service/internal/watch"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/program"
	"github.com/project-receptor/receptor/plug/terminal"
	"github.com/project-receptor/receptor/plug/wire"
)

// Watch is the whole program if this process is a watcher of a command, as its arguments say; else it does nothing. Every program
// that runs this plug has to begin with it, in its first goroutine.
func Watch() (status int, done bool) {
	if len(os.Args) < 2 || os.Args[1] != watch.Arg {
		return 0, false
	}
	return watch.Main(), true
}

// service is an item that runs.
type service struct {
	*command
	item  *plug.Item
	as    *account
	slots chan struct{} // one for each session
}

// run serves an item until ctx is done. It fails where its command could not be run.
func run(ctx context.Context, it *plug.Item) error {
	c, err := decode(it)
	if err != nil {
		return err
	}
	s := &service{command: c, item: it, slots: make(chan struct{}, c.MaxSessions)}
	if s.as, err = c.account(); err != nil {
		return err
	}
	if _, err := s.order(""); err != nil {
		return err
	}
	if os.Geteuid() == 0 && s.as.User == nil {
		it.Log.Warn("the command runs as root for whoever may connect: user names somebody else", "service", c.Service)
	}
	tags := map[string]string{"type": "Command Service", terminal.Tag: terminal.TagValue}
	return it.Serve(ctx, plug.Service{Name: c.Service, Advertise: true, Tags: tags}, s.accept)
}

// accept begins a session for a stream.
func (s *service) accept(_ context.Context, from plug.Target) (net.Conn, error) {
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, wire.NewError(wire.CodeLimit, "%d sessions are connected already", cap(s.slots))
	}
	c, err := newSession(s, from)
	if err != nil {
		<-s.slots
		s.item.Log.Error("cannot begin a session", "peer", from.Node, "error", err)
		return nil, err
	}
	return c, nil
}

// order is what the watcher of a session is told, for a client with that kind of terminal.
func (s *service) order(term string) (watch.Order, error) {
	env := s.environment(os.Environ(), s.as, term)
	dir, err := s.workingDirectory(s.as)
	if err != nil {
		return watch.Order{}, err
	}
	path, err := program.Find(s.args[0], dir, env)
	if err != nil {
		return watch.Order{}, fmt.Errorf("parameter command: %w", err)
	}
	o := watch.Order{Path: path, Args: s.args, Env: env, Dir: dir}
	if u := s.as.User; u != nil {
		o.User = &watch.User{UID: u.UID, GID: u.GID, Groups: u.Groups}
	}
	return o, nil
}
