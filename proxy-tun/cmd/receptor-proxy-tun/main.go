// The receptor-proxy-tun program carries IP packets through the mesh. It is a plug: it
// attaches to a receptor-core.
package main

import (
	"errors"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug/plugcmd"
	proxytun "github.com/project-receptor/receptor/proxy-tun"
	"github.com/project-receptor/receptor/proxy-tun/internal/privilege"
)

func main() {
	var s proxytun.Settings
	o := options{settings: &s, file: proxytun.LimitsFile}
	os.Exit(plugcmd.MainWith(proxytun.New(&s), plugcmd.Extra{Options: o.list(), Start: o.start}))
}

// options are those of the program's own.
type options struct {
	settings *proxytun.Settings
	user     string
	file     string
	limited  bool // by options
}

func (o *options) list() []plugcmd.Option {
	limit := func(set func(string) error) func(string) error {
		return func(v string) error {
			o.limited = true
			return set(v)
		}
	}
	limits := &o.settings.Limits
	return []plugcmd.Option{
		{Name: "allow-interface", Value: "PATTERN", Help: "name that an interface may have, such as tun*; may be repeated", Set: limit(limits.AllowInterface)},
		{Name: "allow-route", Value: "NETWORK", Help: "network that addresses and routes may lie in; may be repeated", Set: limit(limits.AllowRoute)},
		{Name: "limits", Value: "FILE", Help: "more of these, one a line; default " + proxytun.LimitsFile, Set: limit(func(v string) error {
			o.file = v
			return nil
		})},
		{Name: "user", Value: "USER[:GROUP]", Help: "whom to become if root has started this; default " + privilege.DefaultUser + ", else nobody", Set: func(v string) error {
			o.user = v
			return nil
		}},
	}
}

// start leaves the process what it needs, and reads the limits. It may begin the
// process anew.
func (o *options) start(log hclog.Logger, socket string) error {
	fromFile, err := privilege.FromFile()
	switch {
	case err != nil:
		return err
	case fromFile && o.limited:
		return errors.New("this program has its capability from its file, so limits are not up to whoever starts it: they stand in " + proxytun.LimitsFile)
	}
	if err := o.settings.Limits.ReadFile(o.file); err != nil {
		return err
	}
	err = privilege.Narrow(privilege.Options{User: o.user, Socket: socket})
	if errors.Is(err, privilege.ErrMissing) && os.Geteuid() != 0 { // root without it has others, to no avail
		log.Error("no interface can be made", "error", err) // items say so, too
		o.settings.Lacking = err
		return nil
	}
	return err
}
