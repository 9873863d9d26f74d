package workercommand

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// kind is the one kind of items of this plug. The core adds verifysignature and
// maxconcurrent to it, and reads them itself.
const kind = "work-command"

// The parameters of a submitter that mean something here.
const (
	paramParams = "params" // text, which is split
	paramArgs   = "args"   // a JSON array of arguments
)

func kinds() []wire.Kind {
	return []wire.Kind{{
		Kind: kind,
		Role: wire.RoleWorker,
		Help: "run units of work of a type as processes of a command",
		Params: []wire.Param{
			{Name: "worktype", Type: schema.TypeString, Key: true, Required: true, Help: "type of work"},
			{Name: "command", Type: schema.TypeString, Required: true, Help: "program that runs, a path or a name in PATH"},
			{Name: "params", Type: schema.TypeString, Help: "arguments, split as a shell would"},
			{Name: "args", Type: schema.TypeList, Help: "arguments one by one, after those of params"},
			{Name: "allowruntimeparams", Type: schema.TypeBool, Default: false, Help: "the submitter may add arguments"},
			{Name: "user", Type: schema.TypeString, Help: "user that units run as, name or number; only for root (default: that of this program)"},
			{Name: "group", Type: schema.TypeString, Help: "group that units run as, likewise (default: that of the user)"},
			{Name: "environment", Type: schema.TypeMap, Help: "variables that units get beside those of this program"},
			{Name: "directory", Type: schema.TypePath, Help: "working directory of units (default: that of this program)"},
			{Name: "timeout", Type: schema.TypeDuration, Help: "units that take longer are ended (default: none)"},
			{Name: "grace", Type: schema.TypeDuration, Help: "what a unit has to end by itself before it is killed (default: what the core says, 10s)"},
			{Name: "limits", Type: schema.TypeMap, Help: `limits of a unit, such as {"memory": "512M", "pids": 100}; see the manual`},
			{Name: "cgroup", Type: schema.TypeString, Help: "directory of the cgroup that is delegated to this program (default: the one that systemd has delegated; none: use no cgroup)"},
			{Name: "statedir", Type: schema.TypePath, Help: "directory for what is kept of units (default: worker-command in the node's state directory)"},
			{Name: "supervisor", Type: schema.TypePath, Help: "path of receptor-work-supervisor (default: beside this program)"},
		},
	}}
}

// params are those of an item.
type params struct {
	WorkType           string         `json:"worktype"`
	Command            string         `json:"command"`
	Params             string         `json:"params"`
	Args               []string       `json:"args"`
	AllowRuntimeParams bool           `json:"allowruntimeparams"`
	User               string         `json:"user"`
	Group              string         `json:"group"`
	Environment        map[string]any `json:"environment"`
	Directory          string         `json:"directory"`
	Timeout            string         `json:"timeout"`
	Grace              string         `json:"grace"`
	Limits             map[string]any `json:"limits"`
	Cgroup             string         `json:"cgroup"`
	StateDir           string         `json:"statedir"`
	Supervisor         string         `json:"supervisor"`
}
