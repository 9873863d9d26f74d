package config

import (
	"fmt"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The core's own kinds.
const (
	kindNode    = "node"
	kindLog     = "log-level"
	kindTrace   = "trace"
	kindLocal   = "local-only"
	kindControl = "control-service"
	kindPolicy  = "plugs-policy"
	kindVersion = "version"
)

// Parameters that are lists of maps, for which the schema has no type: they are
// checked here, as JSON text.
const (
	paramRules    = "rules"
	paramFirewall = "firewallrules"
)

// Kinds describes the core's own kinds, in the order in which help shows them.
// Every other kind is a plug's.
func Kinds() []wire.Kind {
	return []wire.Kind{
		{
			Kind: kindNode,
			Help: "this node; at most one",
			Params: []wire.Param{
				{Name: "id", Type: schema.TypeNode, Bare: true, Help: "node ID, its address in the mesh (default: the host name)"},
				{Name: "datadir", Type: schema.TypePath, Help: "directory of the node's state (default: $STATE_DIRECTORY, else /var/lib/receptor for root, else receptor in $XDG_STATE_HOME)"},
				{Name: "maxidleconnectiontimeout", Type: schema.TypeDuration, Default: "21s", Help: "a link on which nothing comes for that long is closed; at least 21s"},
				{Name: paramFirewall, Type: schema.TypeString, Help: "which messages pass, as a list of maps with action (accept, reject, drop), fromnode, tonode, fromservice, toservice; the first rule that matches decides"},
			},
		},
		{
			Kind:    kindLog,
			Aliases: []wire.Alias{{Kind: "debug", Defaults: map[string]any{"level": "debug"}}},
			Help:    "how much is logged; at most one",
			Params: []wire.Param{
				{Name: "level", Type: schema.TypeString, Bare: true, Default: "error", Help: "error, warning, info, debug or trace (info without this item)"},
			},
		},
		{Kind: kindTrace, Help: "log all there is; at most one"},
		{
			Kind:   kindLocal,
			Help:   "no links are needed: nothing to do, since a node without backends is fine; at most one",
			Params: []wire.Param{{Name: "local", Type: schema.TypeBool, Help: "no effect"}},
		},
		{
			Kind:    kindControl,
			Aliases: []wire.Alias{{Kind: "controlsock"}},
			Help:    "the control conversation, for receptorctl, on the mesh and on a Unix socket",
			Params: []wire.Param{
				{Name: "service", Type: schema.TypeService, Key: true, Default: "control", Help: "service name on the mesh"},
				{Name: "filename", Type: schema.TypePath, Help: "path of a Unix socket, beside the one that each node has"},
				{Name: "permissions", Type: schema.TypeInt, Default: "0600", Help: "mode of that socket"},
			},
		},
		{
			Kind: kindPolicy,
			Help: "who may attach plugs; at most one",
			Params: []wire.Param{
				{Name: "socket", Type: schema.TypePath, Help: "path of the plug socket (default: plug.sock in the node's runtime directory)"},
				{Name: "group", Type: schema.TypeString, Help: "group of the plug socket, name or number"},
				{Name: "mode", Type: schema.TypeInt, Default: "0660", Help: "mode of the plug socket"},
				{Name: paramRules, Type: schema.TypeString, Help: "who may do what, as a YAML or JSON list; the first rule that matches decides (default: root and the core's user may everything)"},
			},
		},
		{Kind: kindVersion, Help: "print the version and exit"},
	}
}

// Names are the names and aliases of the core's own kinds, which no plug may claim.
func Names() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Kind)
		for _, a := range k.Aliases {
			names = append(names, a.Kind)
		}
	}
	return names
}

// singletons are the kinds of which there is at most one item.
var singletons = []string{kindNode, kindLog, kindTrace, kindLocal, kindPolicy, kindVersion}

// notBuilt are kinds that belong to the core but that it does not have yet:
// no plug should be waited for.
var notBuilt = []string{
	"tls-server", "tls-client", "work-signing", "work-verification",
	"cert-init", "cert-makereq", "cert-signreq", "work-kubernetes", "work-python",
}

// place is where an item was written, for messages about two of them.
func place(i Item) string { return fmt.Sprintf("%q", i.Label) }
