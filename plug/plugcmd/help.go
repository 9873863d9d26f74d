package plugcmd

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/project-receptor/receptor/plug/wire"
)

// help prints the usage, and the kinds and parameters as they are described.
func (c *command) help() {
	p := c.plug.Program
	var own strings.Builder
	for _, o := range c.extra.Options {
		flag := "--" + o.Name + " " + o.Value
		if len(flag) > 17 {
			flag += "\n" + strings.Repeat(" ", 19)
		}
		c.printf(&own, "  %-17s  %s\n", flag, o.Help)
	}
	c.printf(c.stdout, `Usage: %[1]s [options]
       %[1]s describe
       %[1]s replace PID

Attaches to a receptor-core and gives it the kinds of items below. It waits for
its core, and attaches again whenever that comes back. With replace it starts this
program in the place of that process of it, with the options of that.

Options:
  --socket PATH      plug socket of the core; default %[2]s, else the only one found
  --name NAME        name of this plug on the node; default %[3]s
  --no-handoff       relay all bytes, hand no socket to the core
  --takeover         take over from a running process of this plug, which may be stopped then
  --ready-fd N       write a line READY to that descriptor, and close it, once attached
  --log-level LEVEL  trace, debug, info, warn, error or off; default info
  --log-json         log in JSON
  --version          print the version
%[4]s  --help             print this

Kinds:
`, p, wire.SocketEnv, strings.TrimPrefix(p, "receptor-"), own.String())
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for i := range c.plug.Kinds {
		k := &c.plug.Kinds[i]
		_ = w.Flush() // columns are those of one kind
		c.printf(w, "\n%s: %s\n", k.Kind, k.Help)
		for _, prm := range k.Params {
			c.printf(w, "  %s\t%s\t%s\t%s\n", prm.Name, prm.Type, value(prm), prm.Help)
		}
		for _, a := range k.Aliases {
			var defaults []string
			for _, prm := range k.Params {
				if d, ok := a.Defaults[prm.Name]; ok {
					defaults = append(defaults, fmt.Sprintf(", with %s %v by default", prm.Name, d))
				}
			}
			c.printf(w, "  Also as %s%s.\n", a.Kind, strings.Join(defaults, ""))
		}
	}
	_ = w.Flush()
}

// value says what a parameter has when it is not given.
func value(p wire.Param) string {
	switch {
	case p.Required:
		return "required"
	case p.Default != nil:
		return fmt.Sprintf("default %v", p.Default)
	default:
		return ""
	}
}
