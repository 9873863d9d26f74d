package core

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/plug/socket"
)

// listenControl makes the Unix socket of a control-service item. Existing
// configurations often put it into the temporary directory, where socket.Listen
// refuses to make one; the sticky bit keeps others from replacing it there.
func listenControl(c config.ControlService) (net.Listener, error) {
	dir, err := os.Stat(filepath.Dir(c.Filename))
	if err != nil || dir.Mode()&os.ModeSticky == 0 {
		return socket.Listen(c.Filename, socket.Options{Mode: c.Mode, Group: -1})
	}
	if err := removeStale(c.Filename); err != nil {
		return nil, err
	}
	// The process's umask gives the socket to its owner alone until here.
	l, err := net.Listen("unix", c.Filename)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(c.Filename, c.Mode); err != nil {
		return nil, errors.Join(fmt.Errorf("set the mode of the socket: %w", err), l.Close())
	}
	return l, nil
}

// listenTCP opens the TCP port of a control-service item, with the TLS that it
// names.
func (c *Core) listenTCP(s config.ControlService) (net.Listener, error) {
	profile, err := c.tls.Server(s.TCPTLS)
	if err != nil {
		return nil, fmt.Errorf("parameter tcptls: %w", err)
	}
	l, err := net.Listen("tcp", s.TCP)
	if err != nil {
		return nil, err
	}
	if profile == nil {
		if addr, ok := l.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
			c.log.Warn("whoever reaches this port may do all that receptorctl can: give it tcptls, with requireclientcert", "item", s.Label, "addr", l.Addr().String())
		}
		return l, nil
	}
	return tls.NewListener(l, profile.Config()), nil
}

// removeStale removes a socket on which nobody listens, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is there already and is no socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("%w: %s", socket.ErrLocked, path), conn.Close())
	}
	return os.Remove(path)
}

// letPass lets everybody pass through a directory, and see nothing of it: what is
// in it has rights of its own.
func letPass(dir string) error {
	i, err := os.Stat(dir)
	if err != nil || i.Mode()&0o011 == 0o011 {
		return err
	}
	return os.Chmod(dir, i.Mode().Perm()|0o011)
}
