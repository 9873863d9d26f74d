package commandservice

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// kind is the one kind of items of this plug.
const kind = "command-service"

// defaultMaxSessions is enough for people, and few enough for a machine that somebody
// connects to again and again: each is a terminal, a watcher and a command.
const defaultMaxSessions = 32

func kinds() []wire.Kind {
	return []wire.Kind{{
		Kind: kind,
		Role: wire.RoleStream,
		Dir:  "out",
		Help: "bind a service in the mesh and run a command on a terminal for each stream",
		Params: []wire.Param{
			{Name: "service", Type: schema.TypeService, Key: true, Required: true, Help: "service name on this node"},
			{Name: "command", Type: schema.TypeString, Required: true, Help: "command line, split as a shell would; its program is a path or a name in PATH"},
			{Name: "tls", Type: schema.TypeString, TLS: wire.TLSServer, Help: "tls-server of the service (default: encrypted, but nobody has to prove who it is)"},
			{Name: "user", Type: schema.TypeString, Help: "user that the command runs as, name or number; only for root (default: that of this program)"},
			{Name: "group", Type: schema.TypeString, Help: "group that the command runs as, likewise (default: that of the user)"},
			{Name: "environment", Type: schema.TypeMap, Help: "variables that the command gets beside those of a login"},
			{Name: "directory", Type: schema.TypePath, Help: "working directory of the command (default: home of the user)"},
			{Name: "maxsessions", Type: schema.TypeInt, Default: defaultMaxSessions, Help: "how many may be connected at once"},
		},
	}}
}

// params are those of an item.
type params struct {
	Service     string         `json:"service"`
	Command     string         `json:"command"`
	User        string         `json:"user"`
	Group       string         `json:"group"`
	Environment map[string]any `json:"environment"`
	Directory   string         `json:"directory"`
	MaxSessions int            `json:"maxsessions"`
}
