package commandservice

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/plug/program"
)

// command is what an item says, checked.
type command struct {
	params
	args []string // the first is the program
}

// newCommand checks the parameters of an item, as far as that can be without asking
// the system.
func newCommand(p params) (*command, error) {
	args, err := program.Split(p.Command)
	if err == nil && len(args) == 0 {
		err = errors.New("it is empty")
	}
	if err == nil && strings.Contains(p.Command, "\x00") {
		err = errors.New("it has a zero byte")
	}
	if err != nil {
		return nil, fmt.Errorf("parameter command: %w", err)
	}
	for name, value := range p.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(fmt.Sprint(value), "\x00") {
			return nil, fmt.Errorf("parameter environment: %.40q is not a variable", name)
		}
	}
	if p.MaxSessions < 1 {
		return nil, fmt.Errorf("parameter maxsessions: expected a number above 0, got %d", p.MaxSessions)
	}
	return &command{p, args}, nil
}

// account is who the command runs as, and what a login would tell it.
type account struct {
	*program.User        // nil: whoever runs this program
	name          string // empty: not known
	home, shell   string
}

// account looks up who the command runs as.
func (c *command) account() (*account, error) {
	u, err := program.Identify(c.User, c.Group)
	if err != nil {
		return nil, err
	}
	a := &account{User: u, home: "/"}
	switch self, err := user.Current(); {
	case u != nil && u.Name != "":
		a.name, a.home = u.Name, u.Home
	case u == nil || int(u.UID) == os.Geteuid(): // a group only
		if err == nil { // else it has no name, and none is needed
			a.name, a.home = self.Username, self.HomeDir
		}
	}
	a.shell = shellOf("/etc/passwd", a.name)
	return a, nil
}

// defaultShell is that of users of whom nothing else is known.
const defaultShell = "/bin/sh"

// shellOf is the shell of a user in a file such as /etc/passwd.
func shellOf(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil || name == "" {
		return defaultShell // users may be kept elsewhere
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 7 && f[0] == name && f[6] != "" {
			return f[6]
		}
	}
	return defaultShell
}

const (
	userPath = "/usr/local/bin:/usr/bin:/bin"
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// defaultTerm is the kind of terminal of clients that do not say, where this
	// program has none: it promises nothing.
	defaultTerm = "dumb"
)

// inherited are the variables that a command gets from this program: those of the
// machine, none that is about the plug.
func inherited(name string) bool {
	return name == "LANG" || name == "LANGUAGE" || name == "TZ" || strings.HasPrefix(name, "LC_")
}

// environment is what a login gives a command, and what the item adds. term is what
// the client says; environ the environment of this program.
func (c *command) environment(environ []string, as *account, term string) []string {
	env := map[string]string{"PATH": userPath, "HOME": as.home, "SHELL": as.shell, "TERM": defaultTerm}
	if as.User == nil && os.Geteuid() == 0 || as.User != nil && as.UID == 0 {
		env["PATH"] = rootPath
	}
	if as.name != "" {
		env["USER"], env["LOGNAME"] = as.name, as.name
	}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if inherited(name) || name == "TERM" {
			env[name] = value
		}
	}
	for name, value := range c.Environment {
		env[name] = fmt.Sprint(value)
	}
	if term != "" {
		env["TERM"] = term
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// workingDirectory is where the command begins.
func (c *command) workingDirectory(as *account) (string, error) {
	dir, named := c.Directory, true
	if dir == "" {
		dir, named = as.home, false
	}
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir() && filepath.IsAbs(dir):
		return dir, nil
	case !named: // as login does
		return "/", nil
	case err != nil:
		return "", fmt.Errorf("parameter directory: %w", err)
	}
	return "", fmt.Errorf("parameter directory: expected the absolute path of a directory, got %s", dir)
}
