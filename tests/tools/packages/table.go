// Package packages makes what is installed: for each program a .deb and an .rpm of
// its own, with its user, its unit, its manual page and its completions. What they
// are is the table; what they are made of are the programs (modules programs), the
// READMEs of their modules, and packaging/.
package packages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// Package is one package: its name is that of its program.
type Package struct {
	Name     string
	Module   string   // directory
	Programs []string // beside the one of its name
	Summary  string
	All      bool     // it is for those who want all, and depends on all others
	Depends  []string // these it is no use without
	Unit     *Unit    // nil: no service
	Files    []File   // beside the program and what all have
}

// File is a file of packaging/ or docs/ that a package has.
type File struct {
	From, To string
	Config   bool // it is the administrator's once it is installed
}

// Unit is the service of a package.
type Unit struct {
	Description string
	User        string   // empty: one with the name of the package
	Exec        string   // command line behind the program's path; empty: a plug's
	Groups      []string // beside the user's own
	Settings    []string // lines that count instead of those that all units have, or besides
	Jobs        bool     // it runs what others want, with all that is set for it
	Replace     bool     // a newer program takes over from the running one, when the service is reloaded
	TmpFiles    []string // lines of tmpfiles.d
}

// Where a node is that the units run. Its name is not the node's ID, so that this
// can be changed without the units.
const (
	runDir     = "/run/receptor/node"
	plugSocket = runDir + "/plug.sock"
	configFile = "/etc/receptor/receptor.yml"
)

// Groups that several users are members of.
const (
	groupPlug = "receptor-plug" // may reach the plug socket
	groupTLS  = "receptor-tls"  // may read keys
)

// Table lists all packages, the one that depends on the others last.
var Table = []Package{
	{
		Name: "receptor-core", Module: "cmd", Summary: "node of a Receptor mesh, without links, proxies and workers",
		Unit: &Unit{
			Description: "Receptor node",
			User:        "receptor", // whose group may use receptorctl
			Exec:        "-c " + configFile + " --socket " + plugSocket,
			Groups:      []string{groupPlug, groupTLS},
			Settings: []string{
				"RuntimeDirectory=receptor/node", "RuntimeDirectoryMode=0711", "RuntimeDirectoryPreserve=yes",
				"StateDirectory=receptor", "StateDirectoryMode=0700",
				"MemoryMax=2G", "Environment=GOMEMLIMIT=1600MiB",
			},
			TmpFiles: []string{
				"d /run/receptor 0755 root root -",
				"d " + runDir + " 0711 receptor receptor-plug -",
				"d /var/lib/receptor 0700 receptor receptor -", // also where systemd does not start the service
				"d /etc/receptor/tls 0750 root " + groupTLS + " -",
			},
		},
		Files: []File{
			{From: "packaging/receptor.yml", To: configFile, Config: true},
			{From: "docs/config.md", To: "/usr/share/doc/receptor-core/config.md"},
			{From: "docs/plugs-policy.md", To: "/usr/share/doc/receptor-core/plugs-policy.md"},
			{From: "docs/operators.md", To: "/usr/share/doc/receptor-core/operators.md"},
		},
	},
	{Name: "receptorctl", Module: "cmd", Summary: "operator's client of a Receptor node"},
	{
		Name: "receptor-backend-tcp", Module: "backend-tcp", Summary: "links between Receptor nodes over TCP",
		Unit: &Unit{Description: "Receptor links over TCP", Replace: true},
	},
	{
		Name: "receptor-backend-udp", Module: "backend-udp", Summary: "links between Receptor nodes over UDP",
		Unit: &Unit{Description: "Receptor links over UDP", Replace: true},
	},
	{
		Name: "receptor-backend-ws", Module: "backend-ws", Summary: "links between Receptor nodes over WebSocket",
		Unit: &Unit{Description: "Receptor links over WebSocket", Replace: true, Groups: []string{groupTLS}}, // TLS is its own
	},
	{
		Name: "receptor-proxy-tcp", Module: "proxy-tcp", Summary: "TCP applications, and those on Unix sockets, through a Receptor mesh",
		Unit: &Unit{
			Description: "Receptor proxy of TCP and of Unix sockets",
			Replace:     true,
			// A place for sockets of unix-socket-server, which the core keeps while the proxy starts again.
			Settings: []string{"RuntimeDirectory=receptor-proxy-tcp", "RuntimeDirectoryMode=0755", "RuntimeDirectoryPreserve=restart"},
		},
	},
	{
		Name: "receptor-proxy-udp", Module: "proxy-udp", Summary: "UDP applications through a Receptor mesh",
		Unit: &Unit{Description: "Receptor proxy of UDP", Replace: true},
	},
	{
		Name: "receptor-proxy-tun", Module: "proxy-tun", Summary: "IP networks through a Receptor mesh",
		Unit: &Unit{
			Description: "Receptor proxy of IP", // no Replace: an interface has one process
			User:        "receptor-tun",         // as the program knows it
			Settings: []string{
				"# It makes network interfaces.",
				"AmbientCapabilities=CAP_NET_ADMIN", "CapabilityBoundingSet=CAP_NET_ADMIN",
				"PrivateDevices=no", "DevicePolicy=closed", "DeviceAllow=/dev/net/tun rw",
				"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
			},
		},
	},
	{
		Name: "receptor-worker-command", Module: "worker-command", Programs: []string{"receptor-work-supervisor"},
		Summary: "units of work of a Receptor node, run as commands",
		Unit: &Unit{
			Description: "Receptor worker for commands",
			Jobs:        true, // no Replace: it has nothing that would end with it, and its cgroup is where it was started
			Settings: []string{
				"StateDirectory=receptor-worker-command", "StateDirectoryMode=0700",
				"# Units and their supervisors outlive this program.",
				"KillMode=process", "SendSIGKILL=no",
				"# Units have cgroups of their own.",
				"Delegate=yes", "DelegateSubgroup=plug", "ProtectControlGroups=no",
				"# It would go with the end of this program, from under units that run.",
				"RemoveIPC=no",
			},
		},
	},
	{
		Name: "receptor-command-service", Module: "command-service", Summary: "interactive commands, such as a shell, as services in a Receptor mesh",
		Unit: &Unit{Description: "Receptor commands on terminals", Jobs: true, Replace: true},
	},
	{
		Name: "receptor", Module: "cmd", Summary: "Receptor with all that belongs to it: a node from one command line or file",
		All: true,
	},
}

// In returns the packages of the modules that a tree has.
func In(r *workspace.Repo) []Package {
	var all []Package
	var names []string
	for _, p := range Table {
		if r.Module(workspace.Root+"/"+p.Module) == nil {
			continue
		}
		if p.All {
			p.Depends = names
		}
		names = append(names, p.Name)
		all = append(all, p)
	}
	return all
}

// jobs is what others' commands are run with, beside the service itself: they may write
// where their user may, and be what they like. So limits of memory are not the service's.
var jobs = []string{
	"# What is run may write where its user may, and be what it likes.",
	"ProtectSystem=full", "ProtectHome=no", "PrivateTmp=no", "ProtectProc=default", "ProcSubset=all",
	"MemoryDenyWriteExecute=no", "RestrictNamespaces=no", "SystemCallFilter=",
	"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", "UMask=0022",
}

// sandbox is what holds for every service, where its package does not say else.
var sandbox = []string{
	"NoNewPrivileges=yes",
	"CapabilityBoundingSet=",
	"ProtectSystem=strict",
	"ProtectHome=yes",
	"PrivateTmp=yes",
	"PrivateDevices=yes",
	"ProtectClock=yes",
	"ProtectControlGroups=yes",
	"ProtectHostname=yes",
	"ProtectKernelLogs=yes",
	"ProtectKernelModules=yes",
	"ProtectKernelTunables=yes",
	"ProtectProc=invisible",
	"ProcSubset=pid",
	"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
	"RestrictNamespaces=yes",
	"RestrictRealtime=yes",
	"RestrictSUIDSGID=yes",
	"LockPersonality=yes",
	"MemoryDenyWriteExecute=yes",
	"RemoveIPC=yes",
	"SystemCallArchitectures=native",
	"SystemCallFilter=@system-service",
	"SystemCallErrorNumber=EPERM",
	"UMask=0077",
}

// limits are those of a program whose descriptors and memory grow with what it
// carries. It is careful with memory before the system is severe with it.
var limits = []string{
	"LimitNOFILE=65536",
	"MemoryMax=1G",
	"Environment=GOMEMLIMIT=800MiB",
}

// UnitFile is the text of the service.
func (p *Package) UnitFile() string {
	u := p.Unit
	after, exec, reload := "network.target", u.Exec, ""
	if exec == "" {
		after += " receptor-core.service" // though a plug waits for its core
		exec = "--socket " + plugSocket
	}
	if u.Replace {
		reload = "# It starts the program anew beside the one that runs, which ends when what it carries has ended.\n" +
			"ExecReload=/usr/bin/" + p.Name + " replace $MAINPID\nNotifyAccess=exec\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `[Unit]
Description=%s
Documentation=man:%s(1)
After=%s

[Service]
Type=notify
User=%[4]s
SupplementaryGroups=%[5]s
ExecStart=/usr/bin/%[2]s %[6]s
%[7]sRestart=always
RestartSec=1
# It is wrongly configured: starting again would not help.
RestartPreventExitStatus=2
TimeoutStopSec=30

`, u.Description, p.Name, after, p.User(), strings.Join(p.groups(), " "), exec, reload)
	own, common := u.Settings, append([]string{"# The sandbox."}, sandbox...)
	if u.Jobs {
		own, common = slices.Concat(own, jobs), append(common, limits[0])
	} else {
		common = append(common, limits...)
	}
	for _, line := range own {
		b.WriteString(line + "\n")
	}
	for _, line := range common {
		if key, _, _ := strings.Cut(line, "="); !slices.ContainsFunc(own, func(s string) bool { return strings.HasPrefix(s, key+"=") }) {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

// User is whom the service runs as.
func (p *Package) User() string {
	if p.Unit.User != "" {
		return p.Unit.User
	}
	return p.Name
}

// groups are those of the service beside the user's own.
func (p *Package) groups() []string {
	if p.Unit.Exec == "" {
		return append([]string{groupPlug}, p.Unit.Groups...)
	}
	return p.Unit.Groups
}

// Sysusers is what sysusers.d is told of the service's user and its groups. A group
// that several packages name is the same one.
func (p *Package) Sysusers() string {
	var b strings.Builder
	for _, g := range p.groups() {
		fmt.Fprintf(&b, "g %s -\n", g)
	}
	fmt.Fprintf(&b, "u %s - %q\n", p.User(), p.Unit.Description)
	// Also where somebody else starts the program as that user.
	for _, g := range p.groups() {
		fmt.Fprintf(&b, "m %s %s\n", p.User(), g)
	}
	return b.String()
}
