package workercommand

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/program"
)

func newTestCommand(t *testing.T, p params) *command {
	t.Helper()
	if p.Command == "" {
		p.Command = "/bin/sh"
	}
	c, err := newCommand(p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestArguments(t *testing.T) {
	t.Parallel()
	open := params{Params: "-a 'b c'", Args: []string{"d e", "'"}, AllowRuntimeParams: true}
	closed := params{Params: "-a 'b c'"}
	for name, tc := range map[string]struct {
		item    params
		runtime map[string]string
		want    []string
		err     string
	}{
		"of the item":         {item: open, want: []string{"-a", "b c", "d e", "'"}},
		"text of a submitter": {item: open, runtime: map[string]string{"params": `f "g h"`}, want: []string{"-a", "b c", "d e", "'", "f", "g h"}},
		"list of a submitter": {item: open, runtime: map[string]string{"args": `["f \"", "$g", ""]`}, want: []string{"-a", "b c", "d e", "'", `f "`, "$g", ""}},
		"both":                {item: open, runtime: map[string]string{"args": `["g"]`, "params": "f"}, want: []string{"-a", "b c", "d e", "'", "f", "g"}},
		"others are not ours": {item: closed, runtime: map[string]string{"color": "red"}, want: []string{"-a", "b c"}},
		"empty is none":       {item: closed, runtime: map[string]string{"params": ""}, want: []string{"-a", "b c"}},
		"not allowed":         {item: closed, runtime: map[string]string{"params": "x"}, err: "takes no parameters"},
		"nor as a list":       {item: closed, runtime: map[string]string{"args": `[]`}, err: "takes no parameters"},
		"open quote":          {item: open, runtime: map[string]string{"params": "'x"}, err: "params: a quote is not closed"},
		"no list":             {item: open, runtime: map[string]string{"args": `x`}, err: "args: expected a JSON array"},
		"zero byte":           {item: open, runtime: map[string]string{"args": `["\u0000"]`}, err: "zero byte"},
	} {
		got, err := newTestCommand(t, tc.item).arguments(tc.runtime)
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %q, %v; expected %q", name, got, err, tc.err)
			}
		case err != nil || !slices.Equal(got[1:], tc.want):
			t.Errorf("%s: %q, %v; expected %q", name, got, err, tc.want)
		}
	}
}

func TestMistakesInItems(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]params{
		"params: a quote is not closed":                                {Params: "'"},
		`timeout: time: invalid duration "x"`:                          {Timeout: "x"},
		`environment: "A=B" is not a variable's name`:                  {Environment: map[string]any{"A=B": 1}},
		"limits.ram: expected one of memory":                           {Limits: map[string]any{"ram": 1}},
		`limits.memory: expected a size, such as 512M, got "much"`:     {Limits: map[string]any{"memory": "much"}},
		`limits.memory: expected a size, such as 512M, got "1MB"`:      {Limits: map[string]any{"memory": "1MB"}},
		`limits.pids: expected a number above 0, got "0"`:              {Limits: map[string]any{"pids": 0}},
		`limits.files: expected a number above 0, got "1.5"`:           {Limits: map[string]any{"files": 1.5}},
		`limits.cpu: expected a number of processors, such as 0.5, go`: {Limits: map[string]any{"cpu": -1}},
		"limits.cputime: expected a time of 1s or more":                {Limits: map[string]any{"cputime": "1ms"}},
	} {
		if _, err := newCommand(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; expected %q", p, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	l, err := parseLimits(map[string]any{"memory": "1.5G", "cpu": "0.5", "pids": 100.0, "files": 64, "filesize": 10, "cputime": "1m"})
	want := limits{memory: 3 << 29, cpu: 0.5, pids: 100, files: 64, filesize: 10, cputime: time.Minute}
	if err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("%+v, %v; expected %+v", l, err, want)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	c := newTestCommand(t, params{Environment: map[string]any{"N": 7, "PATH": "/opt/bin"}})
	inherited := []string{"PATH=/bin", "HOME=/root", "NOTIFY_SOCKET=/x", "RECEPTOR_PLUG_SOCKET=/y", "A=b=c"}
	if got, want := c.environment(inherited, nil), []string{"A=b=c", "HOME=/root", "N=7", "PATH=/opt/bin"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	if got := c.environment(inherited, &program.User{Name: "jobs", Home: "/home/jobs"}); !slices.Contains(got, "HOME=/home/jobs") || !slices.Contains(got, "USER=jobs") {
		t.Errorf("of another user: %q", got)
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newTestCommand(t, params{WorkType: "w", Directory: dir, Timeout: "1m", Params: "-c true"})
	s, err := c.spec("u", nil, nil)
	if err != nil || s.Path != "/bin/sh" || s.Directory != dir || s.Timeout != time.Minute || s.Grace != defaultGrace || s.User != nil ||
		!slices.Equal(s.Args, []string{"/bin/sh", "-c", "true"}) || s.Unit != "u" || s.Type != "w" {
		t.Errorf("%+v, %v", s, err)
	}
	for what, p := range map[string]params{"directory": {Directory: "/nowhere"}, "is none": {Directory: "/bin/sh"}, "in PATH": {Command: "no-such-program"}} {
		if _, err := newTestCommand(t, p).spec("u", nil, nil); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
