package plughost

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/socket"
)

// RunPlug runs a plug in this process until ctx is done or the host is closed,
// and waits for its items. The plug is one like any other: it speaks the plug
// protocol, over connections that nobody else has, gets its items from SetItems,
// and is to the policy a program of this process's user. A plug that is attached
// already under that name keeps it; this one waits.
//
// It returns nil, or what is wrong with the plug itself.
func (h *Host) RunPlug(ctx context.Context, p *plug.Plug) error {
	if !h.enter() {
		return fmt.Errorf("run %s: the host is closed: %w", p.Program, net.ErrClosed)
	}
	defer h.wg.Done()
	ctx, cancel := h.within(ctx)
	defer cancel()
	err := plug.Run(ctx, p, plug.Options{
		Logger: h.log.Named(strings.TrimPrefix(p.Program, "receptor-")),
		Dial:   h.dialInside,
	})
	if err != nil {
		return fmt.Errorf("run %s: %w", p.Program, err)
	}
	return nil
}

// dialInside makes a connection to the host for a plug of this process.
func (h *Host) dialInside(context.Context) (net.Conn, error) {
	ours, theirs, err := socket.Pair()
	if err != nil {
		return nil, err
	}
	if !h.spawn(func() { h.ServeConn(h.ctx, ours, ourselves()) }) {
		_, _ = ours.Close(), theirs.Close() // nobody has used them
		return nil, fmt.Errorf("the host is closed: %w", net.ErrClosed)
	}
	return theirs, nil
}

// ourselves is this process. It need not be asked for, so it is known where the
// system does not tell of others, too.
func ourselves() socket.Cred {
	uid := os.Geteuid()
	return socket.Cred{UID: uint32(uid), GID: uint32(os.Getegid()), PID: os.Getpid(), Known: uid >= 0} //nolint:gosec // where there are none, Known is false
}
