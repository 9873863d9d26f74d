package launcher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/cmd/internal/certs"
	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/plug/schema"
)

const usage = `receptor runs a node of a Receptor mesh: its core and the plugs that it needs.

Usage:
  receptor [-c FILE ...] [--<kind> [<parameter>=<value> ...] ...]

Each --<kind> with its parameters is one item of the configuration. A value
without a name fills the parameter marked with it. Files hold the same items in
YAML; files and flags may be mixed. Names are in any letter case.

  -c, --config FILE   read items from a YAML file; may be repeated
  --socket PATH       path of the node's plug socket
  --user NAME         whom core and plugs run as, if root runs this; default receptor if there is such a user
  --log-json          log in JSON
  --check             check the configuration and exit
  --help [KIND]       print this, or one kind in detail, and exit

Example:
  receptor --node-id standalone --local-only \
      --tcp-inbound-proxy port=1234 remotenode=standalone remoteservice=proxy \
      --tcp-outbound-proxy address=localhost:4321 service=proxy
`

// help prints the help: of one kind if it is named, else all there is.
func (l *Launcher) help(ctx context.Context, kind string, as *identity) int {
	catalog := Discover(ctx, l.Dirs, l.DescribeTimeout, as)
	catalog.Retry(ctx)
	var text strings.Builder
	if kind == "" {
		catalog.help(&text)
		return l.print(text.String())
	}
	kind = strings.ToLower(strings.TrimLeft(kind, "-"))
	k := schema.Find(slices.Concat(config.Kinds(), certs.Kinds()), kind)
	if k == nil {
		_, k = catalog.Find(kind)
	}
	if k == nil {
		return l.fail(ctx, statusUsage, fmt.Errorf("--help: %s", catalog.unknown(kind)))
	}
	config.KindHelp(&text, k)
	return l.print(text.String())
}

func (c *Catalog) help(w *strings.Builder) {
	w.WriteString(usage)
	w.WriteString("\nKinds of the core:\n")
	for _, k := range config.Kinds() {
		config.KindHelp(w, &k)
	}
	w.WriteString("\nCertificates:\n")
	for _, k := range certs.Kinds() {
		config.KindHelp(w, &k)
	}
	for _, p := range c.Plugs {
		fmt.Fprintf(w, "\nKinds of %s (%s):\n", p.Name, p.Path)
		for i := range p.Kinds {
			config.KindHelp(w, &p.Kinds[i])
		}
	}
	if len(c.Plugs) == 0 {
		w.WriteString("\nNo plugs are installed beside this program, in /usr/libexec/receptor or in PATH.\n")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ignored)) {
		fmt.Fprintf(w, "\nNot used: %s\n", oneLine(c.Ignored[name]))
	}
}
