package core

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/plug/schema"
)

const usage = `receptor-core is a node of a Receptor mesh. Plugs attach to its socket.

Usage:
  receptor-core [-c FILE ...] [--<kind> [<parameter>=<value> ...] ...]

Items of the configuration come from files and flags alike (docs/config.md).
Items of kinds that are not the core's own wait for a plug that claims them.

  -c, --config FILE   read items from a YAML file; may be repeated
  --items-fd N        read items, as a JSON list, from a descriptor
  --ready-fd N        close that descriptor, after a line READY, once plugs can attach
  --socket PATH       path of the plug socket
  --log-json          log in JSON
  --check             check the configuration and exit
  --version           print the version and exit
  --help [KIND]       print this, or one kind of the core's own in detail, and exit

It logs to stderr. SIGTERM and SIGINT stop it in order, the second one at once.
Exit status: 0 after an orderly stop, 1 on failure, 2 if the configuration is
wrong or the node is running here already.
`

// Args is the command line of receptor-core.
type Args struct {
	Config  config.Core
	Items   []config.Item  // of kinds that are not the core's own
	Digest  string         // of all items
	Ready   io.WriteCloser // nil: nobody waits for READY
	LogJSON bool
	Check   bool
	Help    string // to be printed instead; empty: the core is to run
}

// ParseArgs reads the command line, and the files and the descriptor that it
// names. The error holds all mistakes, one line each.
func ParseArgs(args []string) (*Args, error) {
	line, err := config.Parse(args,
		config.Option{Name: "items-fd", Value: true},
		config.Option{Name: "ready-fd", Value: true},
		config.Option{Name: "socket", Value: true},
		config.Option{Name: "log-json"},
		config.Option{Name: "check"},
		config.Option{Name: "help", Optional: true},
		config.Option{Name: "h"},
	)
	a := &Args{LogJSON: line.Has("log-json"), Check: line.Has("check")}
	if line.Has("help") || line.Has("h") {
		a.Help, err = help(line.Get("help"))
		return a, err
	}
	errs := []error{err}
	items := line.Items
	if fd := line.Get("items-fd"); fd != "" {
		handed, err := itemsFrom(fd)
		items = append(handed, items...)
		errs = append(errs, err)
	}
	a.Config, a.Items, err = config.Split(items)
	errs = append(errs, err)
	a.Digest, err = config.Digest(items)
	errs = append(errs, err)
	if fd := line.Get("ready-fd"); fd != "" {
		a.Ready, err = descriptor("ready-fd", fd)
		errs = append(errs, err)
	}
	if path := line.Get("socket"); path != "" {
		a.Config.Plugs.Socket, err = filepath.Abs(path)
		errs = append(errs, err)
	}
	return a, errors.Join(errs...)
}

// help is the help: of one kind of the core's own if it is named, else all there is.
func help(kind string) (string, error) {
	var text strings.Builder
	if kind == "" {
		text.WriteString(usage + "\nKinds of the core:\n")
		for _, k := range config.Kinds() {
			config.KindHelp(&text, &k)
		}
		return text.String(), nil
	}
	k := schema.Find(config.Kinds(), strings.ToLower(strings.TrimLeft(kind, "-")))
	if k == nil {
		return "", fmt.Errorf("--help: %s is no kind of the core's own: see the help of the plug that claims it, or receptor --help", kind)
	}
	config.KindHelp(&text, k)
	return text.String(), nil
}

// itemsFrom reads the items that the launcher hands over.
func itemsFrom(fd string) ([]config.Item, error) {
	f, err := descriptor("items-fd", fd)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	items, err := config.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("--items-fd %s: %w", fd, err)
	}
	return items, nil
}

// descriptor is the file of an inherited descriptor.
func descriptor(option, fd string) (*os.File, error) {
	n, err := strconv.ParseUint(fd, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("--%s: expected the number of a descriptor, got %q", option, fd)
	}
	if n == 0 {
		return os.Stdin, nil
	}
	return os.NewFile(uintptr(n), option), nil
}
