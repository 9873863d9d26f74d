// Package plughost serves the plug socket of a node: it joins plugs, by the
// plug protocol, to the mesh. It checks who they are, gives them their items,
// runs links and streams for them, and survives whatever they do.
package plughost

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/wire"
)

var errStub = errors.New("not built yet")

// Item is one configured object that is not the core's own: it waits for a plug
// that claims its kind.
type Item struct {
	Kind   string         // as the user wrote it
	Params map[string]any // as the user wrote them, of any source
	Label  string         // where it was written, for messages
}

// Config is what a Host needs.
type Config struct {
	Node      *netceptor.Node
	Logger    hclog.Logger
	Version   string   // of the core
	Policy    Policy   // who may attach, and as what
	CoreKinds []string // kinds that no plug may claim
}

// Host serves plugs.
type Host struct{}

// New makes a host.
func New(c Config) (*Host, error) { return nil, errStub }

// Serve attaches plugs that connect to l until ctx is done, then ends their
// sessions, closes l and waits.
func (h *Host) Serve(ctx context.Context, l net.Listener) error { return errStub }

// SetItems replaces the configuration; plugs get what changed.
func (h *Host) SetItems(items []Item) {}

// ItemStatus is the state of one item.
type ItemStatus struct {
	Item  string `json:"item"`
	Kind  string `json:"kind"`
	State string `json:"state"` // waiting, up, degraded, failed
	Addr  string `json:"addr,omitempty"`
	Err   string `json:"err,omitempty"` // why, or what it waits for
	Plug  string `json:"plug,omitempty"`
}

// PlugStatus is one attached plug.
type PlugStatus struct {
	Name    string    `json:"name"`
	Program string    `json:"program"`
	Version string    `json:"version"`
	UID     int       `json:"uid"`
	PID     int       `json:"pid"`
	State   string    `json:"state"` // attached, stalled
	Since   time.Time `json:"since"`
	Kinds   []string  `json:"kinds"`
	Objects int       `json:"objects"` // links and streams that it carries
	Err     string    `json:"err,omitempty"`
}

// Items returns the states of all items, in the order of the configuration.
func (h *Host) Items() []ItemStatus { return nil }

// Plugs returns the attached plugs, sorted by name.
func (h *Host) Plugs() []PlugStatus { return nil }

// PolicyParams are the parameters that the core adds to each kind of a role,
// and reads itself: for links cost, nodecost (accepting kinds only) and
// allowedpeers.
func PolicyParams(k wire.Kind) []wire.Param { return nil }

// Policy says who may attach. The first rule that matches decides; without
// one, root and the core's own user get everything, others nothing.
type Policy struct{ Rules []Rule }

// Rule is one line of the plugs-policy item.
type Rule struct {
	User  string // name or number; empty: any
	Group string // name or number, a supplementary group counts; empty: any
	Name  string // pattern (path.Match) for the plug's name; empty: any
	Kinds []string
	Roles map[string]RoleRule // empty: all roles, unlimited
}

// RoleRule narrows a role.
type RoleRule struct {
	Max  int      // objects at once; 0: the host's limit
	Dial []string // role stream: "node/service" patterns; empty: all
	Bind []string // role stream: service patterns; empty: all
}
