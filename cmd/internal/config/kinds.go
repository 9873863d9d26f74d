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
	kindRetain  = "work-retention"
	kindServer  = "tls-server"
	kindClient  = "tls-client"
	kindSign    = "work-signing"
	kindVerify  = "work-verification"
	kindVersion = "version"
)

// Parameters that are lists of maps, for which the schema has no type: they are
// checked here, as JSON text.
const (
	paramRules    = "rules"
	paramFirewall = "firewallrules"
)

const (
	paramSkipNames = "skipreceptornamescheck"
	skipNamesHelp  = "certificates of links need not name the node that shows them, ours included"
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
				{Name: "requiretls", Type: schema.TypeBool, Help: "refuse links without TLS, unless they do not leave the host"},
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
			Help:    "the control conversation, for receptorctl, on the mesh, on a Unix socket and on TCP",
			Params: []wire.Param{
				{Name: "service", Type: schema.TypeService, Key: true, Default: "control", Help: "service name on the mesh"},
				{Name: "filename", Type: schema.TypePath, Help: "path of a Unix socket, beside the one that each node has"},
				{Name: "permissions", Type: schema.TypeInt, Default: "0600", Help: "mode of that socket"},
				{Name: "tls", Type: schema.TypeString, TLS: wire.TLSServer, Help: "tls-server of the service on the mesh (default: encrypted, but nobody has to prove who it is)"},
				{Name: "tcplisten", Type: schema.TypeString, Help: "TCP port, or host:port, for it; a port alone is open on all addresses"},
				{Name: "tcptls", Type: schema.TypeString, TLS: wire.TLSServer, Help: "tls-server of that port"},
			},
		},
		{
			Kind: kindPolicy,
			Help: "who may attach plugs; at most one",
			Params: []wire.Param{
				{Name: "socket", Type: schema.TypePath, Help: "path of the plug socket (default: plug.sock in the node's runtime directory)"},
				{Name: "group", Type: schema.TypeString, Help: "group of the plug socket, name or number"},
				{Name: "controlgroup", Type: schema.TypeString, Help: "group of the control socket (default: that of the plug socket)"},
				{Name: "mode", Type: schema.TypeInt, Default: "0660", Help: "mode of both sockets"},
				{Name: paramRules, Type: schema.TypeString, Help: "who may do what, as a YAML or JSON list; the first rule that matches decides (default: root and the core's user may everything)"},
			},
		},
		{
			Kind: kindRetain,
			Help: "how long ended units of work are kept that nobody releases, for ever without this item; at most one",
			Params: []wire.Param{
				{Name: "age", Type: schema.TypeDuration, Help: "since their end, such as 168h"},
				{Name: "units", Type: schema.TypeInt, Help: "how many, the one that ended last at first"},
				{Name: "size", Type: schema.TypeString, Help: "how much all of their files may be, in bytes or such as 500MiB or 10GiB"},
			},
		},
		{
			Kind: kindServer,
			Help: "how to be the server of TLS, for whoever names it",
			Params: []wire.Param{
				{Name: "name", Type: schema.TypeString, Key: true, Required: true, Help: "name by which others mean it"},
				{Name: "cert", Type: schema.TypePath, Required: true, Help: "PEM file of the certificate, with its chain"},
				{Name: "key", Type: schema.TypePath, Required: true, Help: "PEM file of its key"},
				{Name: "requireclientcert", Type: schema.TypeBool, Help: "clients must show a certificate"},
				{Name: "clientcas", Type: schema.TypeString, Help: "PEM file of the authorities of clients; alone: certificates are checked if there are any"},
				{Name: "pinnedclientcert", Type: schema.TypeList, Help: "SHA-256 or SHA-512 fingerprints, one of which a client's certificate must have"},
				{Name: paramSkipNames, Type: schema.TypeBool, Help: skipNamesHelp},
				{Name: "mintls13", Type: schema.TypeBool, Help: "no TLS 1.2"},
			},
		},
		{
			Kind: kindClient,
			Help: "how to be the client of TLS, for whoever names it",
			Params: []wire.Param{
				{Name: "name", Type: schema.TypeString, Key: true, Required: true, Help: "name by which others mean it"},
				{Name: "cert", Type: schema.TypeString, Help: "PEM file of the certificate, with its chain (default: none)"},
				{Name: "key", Type: schema.TypeString, Help: "PEM file of its key"},
				{Name: "rootcas", Type: schema.TypeString, Help: "PEM file of the authorities of servers (default: those of the system)"},
				{Name: "insecureskipverify", Type: schema.TypeBool, Help: "take any server for the right one"},
				{Name: "pinnedservercert", Type: schema.TypeList, Help: "SHA-256 or SHA-512 fingerprints, one of which the server's certificate must have"},
				{Name: paramSkipNames, Type: schema.TypeBool, Help: skipNamesHelp},
				{Name: "mintls13", Type: schema.TypeBool, Help: "no TLS 1.2"},
			},
		},
		{
			Kind: kindSign,
			Help: "sign work for other nodes, where a client on a Unix socket asks for it; at most one",
			Params: []wire.Param{
				{Name: "privatekey", Type: schema.TypePath, Bare: true, Required: true, Help: "PEM file of an RSA key"},
				{Name: "tokenexpiration", Type: schema.TypeDuration, Default: "5m", Help: "how long a signature is good for at existing nodes; between ours it is for one request only"},
			},
		},
		{
			Kind: kindVerify,
			Help: "check signatures of work of types that want them; at most one",
			Params: []wire.Param{
				{Name: "publickey", Type: schema.TypePath, Bare: true, Required: true, Help: "PEM file of the public RSA key"},
				{Name: "unsigned", Type: schema.TypeString, Default: "status", Help: "what existing clients on the mesh may ask without a signature about such units: status, which existing nodes need; list, all of them; or none"},
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
var singletons = []string{kindNode, kindLog, kindTrace, kindLocal, kindPolicy, kindRetain, kindSign, kindVerify, kindVersion}

// notBuilt are kinds that belong to the core but that it does not have yet:
// no plug should be waited for.
var notBuilt = []string{
	"work-kubernetes", "work-python",
}

// actions are kinds that receptor does by itself, without a node.
var actions = []string{"cert-init", "cert-makereq", "cert-signreq"}

// place is where an item was written, for messages about two of them.
func place(i Item) string { return fmt.Sprintf("%q", i.Label) }
