// Package privilege leaves a process the one capability that it needs, CAP_NET_ADMIN,
// and takes everything else from it.
package privilege

import "errors"

// Options say how.
type Options struct {
	// User is whom a process that root has started becomes: a name or number, and
	// after a colon perhaps a group. Empty: DefaultUser if there is one, else nobody;
	// unless Socket is such that only root can reach it, as that of a node that root
	// has started: then root is what it stays, with that one capability.
	User string

	// Socket is what the user has to reach.
	Socket string
}

// DefaultUser is the user of the plug's own.
const DefaultUser = "receptor-tun"

// ErrMissing is that the process has not the capability. It says how to give it.
var ErrMissing = errors.New("the capability CAP_NET_ADMIN is missing, which making network interfaces takes: start the program as root, " +
	"by systemd with AmbientCapabilities=CAP_NET_ADMIN, or once have root run: setcap cap_net_admin+ep receptor-proxy-tun")
