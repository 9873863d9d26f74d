package workercommand

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/project-receptor/receptor/plug/program"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// defaultGrace is what a unit has to end by itself, where neither item nor core say.
const defaultGrace = 10 * time.Second

// command is what an item says, checked.
type command struct {
	params
	fixed   []string // arguments of every unit
	timeout time.Duration
	grace   time.Duration // 0: as the core says
	limits  limits
}

// newCommand checks the parameters of an item, as far as that can be without asking
// the system.
func newCommand(p params) (*command, error) {
	c := &command{params: p}
	var err error
	if c.fixed, err = program.Split(p.Params); err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	c.fixed = append(c.fixed, p.Args...)
	if c.timeout, err = duration(p.Timeout); err != nil {
		return nil, fmt.Errorf("timeout: %w", err)
	}
	if c.grace, err = duration(p.Grace); err != nil {
		return nil, fmt.Errorf("grace: %w", err)
	}
	if c.limits, err = parseLimits(p.Limits); err != nil {
		return nil, err
	}
	for name := range p.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("environment: %.40q is not a variable's name", name)
		}
	}
	return c, nil
}

func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

// arguments are those of a unit, the first being the command's name.
func (c *command) arguments(runtime map[string]string) ([]string, error) {
	args := append([]string{c.Command}, c.fixed...)
	text, list := runtime[paramParams], runtime[paramArgs]
	if text == "" && list == "" {
		return args, nil
	}
	if !c.AllowRuntimeParams {
		return nil, fmt.Errorf("work type %s takes no parameters of a submitter", c.WorkType)
	}
	added, err := program.Split(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", paramParams, err)
	}
	if list != "" {
		var more []string
		if err := json.Unmarshal([]byte(list), &more); err != nil {
			return nil, fmt.Errorf("%s: expected a JSON array of texts: %w", paramArgs, err)
		}
		added = append(added, more...)
	}
	args = append(args, added...)
	if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "\x00") }) {
		return nil, errors.New("an argument has a zero byte")
	}
	return args, nil
}

// spec is what the supervisor of a unit is told, but for what the ledger knows.
func (c *command) spec(id string, runtime map[string]string, as *program.User) (unit.Spec, error) {
	args, err := c.arguments(runtime)
	if err != nil {
		return unit.Spec{}, err
	}
	env := c.environment(os.Environ(), as)
	dir, err := filepath.Abs(c.Directory)
	if err != nil {
		return unit.Spec{}, err
	}
	if info, err := os.Stat(dir); err != nil {
		return unit.Spec{}, fmt.Errorf("directory: %w", err)
	} else if !info.IsDir() {
		return unit.Spec{}, fmt.Errorf("directory: %s is none", dir)
	}
	path, err := program.Find(c.Command, dir, env)
	if err != nil {
		return unit.Spec{}, err
	}
	s := unit.Spec{
		Record: unit.Record{Unit: id, Type: c.WorkType},
		Path:   path, Args: args, Env: env, Directory: dir,
		Timeout: c.timeout, Grace: c.grace,
	}
	if s.Grace == 0 {
		s.Grace = defaultGrace
	}
	if as != nil {
		s.User = &unit.User{UID: as.UID, GID: as.GID, Groups: as.Groups}
	}
	return s, nil
}

// own are the variables that are about this program, and not for what it runs.
var own = []string{
	"RECEPTOR_PLUG_SOCKET", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
	"INVOCATION_ID", "JOURNAL_STREAM", "RUNTIME_DIRECTORY", "STATE_DIRECTORY",
}

// environment is that of a unit, of that of this program.
func (c *command) environment(inherited []string, as *program.User) []string {
	env := map[string]string{}
	for _, v := range inherited {
		if name, value, ok := strings.Cut(v, "="); ok && !slices.Contains(own, name) {
			env[name] = value
		}
	}
	if as != nil && as.Name != "" {
		env["USER"], env["LOGNAME"], env["HOME"] = as.Name, as.Name, as.Home
	}
	for name, value := range c.Environment {
		env[name] = fmt.Sprint(value)
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
