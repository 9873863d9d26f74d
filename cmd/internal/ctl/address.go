package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug/socket"
)

// Address is where a control conversation is held.
type Address struct {
	network string // unix, tcp or tls
	addr    string
	host    string // whom the certificate must be for, with tls
	found   bool   // by socket.Find, not named by the user
}

// ParseAddress parses the value of --socket: PATH, unix:PATH, unix://PATH,
// tcp:HOST:PORT, tcp://HOST:PORT, and the last two with tls. A leading ~ of a path
// is the home directory.
func ParseAddress(s string) (Address, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		scheme, rest = "unix", s
	} else {
		rest = strings.TrimPrefix(rest, "//")
	}
	switch scheme {
	case "unix":
		if rest == "" || strings.Contains(rest, ":") {
			break
		}
		path, err := expandHome(rest)
		return Address{network: "unix", addr: path}, err
	case "tcp", "tls":
		i := strings.LastIndexByte(rest, ':')
		if i < 1 || i == len(rest)-1 {
			break
		}
		host := strings.TrimSuffix(strings.TrimPrefix(rest[:i], "["), "]")
		return Address{network: scheme, addr: net.JoinHostPort(host, rest[i+1:]), host: host}, nil
	}
	return Address{}, usagef("Invalid socket address %s", s)
}

func expandHome(path string) (string, error) {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("expand %s: %w", path, err)
	}
	return filepath.Join(home, path[1:]), nil
}

// String is how users write it.
func (a Address) String() string {
	if a.network == "unix" {
		return a.addr
	}
	return a.network + ":" + a.addr
}

// dial connects, with TLS as the client says. A socket that was found, and not
// named, must be served by somebody who may be trusted with it.
func (a Address) dial(ctx context.Context, client *mtls.Client) (net.Conn, error) {
	if a.found {
		return socket.Dial(ctx, a.addr)
	}
	network := a.network
	if network == "tls" {
		network = "tcp"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, a.addr)
	switch {
	case err == nil && a.network == "tls":
		return a.secure(ctx, conn, client)
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("Socket path does not exist: %s", a.addr) //nolint:staticcheck // scripts know this text
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("connection refused: nobody listens on %s", a)
	}
	return nil, err
}

// find is the only control socket there is.
func find(sockets []string) (Address, error) {
	switch len(sockets) {
	case 0:
		return Address{}, errNoSocket
	case 1:
		return Address{network: "unix", addr: sockets[0], found: true}, nil
	}
	return Address{}, usagef("several nodes run here, choose one with --socket: %s", strings.Join(sockets, ", "))
}

var errNoSocket = usagef("Missing parameter: socket (no running node was found; use --socket or RECEPTORCTL_SOCKET)")
