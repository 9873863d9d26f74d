package integration

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest/check"
)

// plugcheck runs receptor-plugcheck and returns its exit status and output.
func plugcheck(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut strings.Builder
	cmd := exec.CommandContext(t.Context(), programs.Path("receptor-plugcheck"), args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// Our own plugs keep every rule, and no check is skipped, but those of what they
// have not.
func TestOurPlugsConform(t *testing.T) {
	t.Parallel()
	noStream := []string{ // no connections, so nothing to hand over
		"link/back-pressure", "link/end-by-medium", "descriptors/one-socket", "descriptors/hand-off-bytes", "descriptors/let-go",
		"descriptors/refused", "descriptors/outlives", "descriptors/takeover", "descriptors/closed", "descriptors/closed-early", "descriptors/live",
	}
	noHandoff := []string{ // what is relayed is not handed over
		"descriptors/one-socket", "descriptors/hand-off-bytes", "descriptors/let-go", "descriptors/refused", "descriptors/outlives",
		"descriptors/closed", "descriptors/closed-early", "descriptors/live",
	}
	shell := []string{
		"--work-param", "worktype=sh", "--work-param", "command=sh", "--work-param", "statedir=@DIR@", "--work-type", "sh",
		"--quick", `echo out; echo err >&2\n`, "--quick-output", `out\n`, "--fails", `exit 3\n`, "--fails-code", "3",
		"--long", `echo first; exec sleep 1000\n`, "--long-output", `first\n`,
	}
	for program, c := range map[string]struct {
		role, medium string
		skips, args  []string
	}{
		"receptor-backend-tcp":     {"link", check.MediumTCP, nil, nil},
		"receptor-backend-udp":     {"link", check.MediumUDP, noStream, nil},
		"receptor-backend-ws":      {"link", check.MediumWS, noHandoff, []string{"--dial-param", "address=ws://@ADDR@"}},
		"receptor-proxy-tcp":       {"stream", check.MediumTCP, nil, nil},
		"receptor-proxy-udp":       {"packet", check.MediumTCP, nil, nil},
		"receptor-command-service": {"stream", check.MediumNone, nil, []string{"--dial-param", "command=sh"}},
		"receptor-worker-command":  {"worker", check.MediumTCP, nil, shell},
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			args := append([]string{c.role, "--medium", c.medium, "--parallel", "8", "--timeout", "3m", "--json", "--verbose", "--exec", programs.Path(program)}, c.args...)
			status, out, log := plugcheck(t, args...)
			if status != 0 || strings.Contains(log, "DATA RACE") {
				t.Errorf("exit status %d\n%s\n%s", status, out, log)
			}
			wantConform(t, out, c.role, c.medium, c.skips...)
		})
	}
}

// wantConform looks at the results of all checks of a role: that each is fine, but for those
// that are skipped, and those that play a medium where there is none that can be.
func wantConform(t *testing.T, out, role, medium string, skips ...string) {
	t.Helper()
	checks := check.Checks(role, check.Both, "")
	if n := strings.Count(out, "\n"); n != len(checks) {
		t.Errorf("%d results of %d checks", n, len(checks))
	}
	if medium == check.MediumNone {
		for _, c := range checks {
			if c.PlaysMedium {
				skips = append(skips, c.ID)
			}
		}
	}
	for line := range strings.Lines(out) {
		var r check.Result
		want := check.OK
		err := json.Unmarshal([]byte(line), &r)
		if slices.Contains(skips, r.ID) {
			want = check.Skip
		}
		if err != nil || r.Outcome != want {
			t.Errorf("%s, %v; want %s", line, err, want)
		}
	}
}

func TestPlugcheckCommandLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string // in what it prints
	}{
		"list":              {[]string{"stream", "--list"}, 0, "stream/half-close-mesh"},
		"list of a pattern": {[]string{"--list", "--run", "link/end-*", "link"}, 0, "link/end-by-medium"},
		"another medium":    {[]string{"worker", "--exec", "true", "--medium", "none"}, 2, `--medium: expected tcp, got "none"`},
		"only without one":  {[]string{"stream", "--exec", "true", "--medium", "none", "--run", "stream/dial"}, 0, "skip stream/dial: the medium is none that is played here"},
		"version":           {[]string{"--version"}, 0, "receptor-plugcheck "},
		"help":              {[]string{"--help"}, 0, "Exit status"},
		"no role":           {[]string{"--exec", "true"}, 2, `role: expected link, stream, worker or packet, got ""`},
		"no program":        {[]string{"link"}, 2, "--exec: expected a program"},
		"both and neither":  {[]string{"link", "--exec", "true", "--handoff", "--no-handoff"}, 2, "--handoff and --no-handoff: expected one of them at most"},
		"only with hand-off": {
			[]string{"link", "--exec", programs.Path("receptor-backend-tcp"), "--handoff", "--run", "session/drain"},
			0, "ok session/drain (hand-off)\n",
		},
		"no hand-off offered": {
			[]string{"link", "--exec", programs.Path("receptor-backend-tcp") + " --no-handoff", "--run", "descriptors/let-go"},
			0, "skip descriptors/let-go (hand-off): HELLO does not offer fdpass",
		},
		"no such check":   {[]string{"link", "--exec", "true", "--run", "stream"}, 2, "--run stream names no check of role link"},
		"no such program": {[]string{"link", "--exec", "/no/such", "--run", "session/ping"}, 1, "FAIL session/ping: start the plug: fork/exec /no/such"},
		"ends at once":    {[]string{"link", "--exec", "false", "--run", "session/ping"}, 1, "FAIL session/ping: waited in vain for a plug to attach: the plug has ended by itself"},
		"no such kind": {
			[]string{"link", "--exec", programs.Path("receptor-backend-tcp"), "--listen-kind", "nothing", "--run", "link/open-in"},
			1, "FAIL link/open-in: HELLO claims no kind nothing of role link",
		},
		"named kind and parameter": {
			[]string{
				"link", "--exec", programs.Path("receptor-backend-tcp") + " --log-level trace", "--run", "link/open-*",
				"--listen-kind", "tcp-listener", "--listen-param", "port=@PORT@", "--dial-kind", "tcp-peer", "--dial-param", "address=@ADDR@",
			},
			0, "ok link/open-in\nok link/open-out\n",
		},
		"another role": {
			[]string{"stream", "--exec", programs.Path("receptor-backend-tcp"), "--run", "stream/dial"},
			0, "skip stream/dial: the plug has no kind of role stream and direction in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out, log := plugcheck(t, c.args...)
			if status != c.status || !strings.Contains(out+log, c.want) {
				t.Errorf("exit status %d, want %d with %q:\n%s%s", status, c.status, c.want, out, log)
			}
		})
	}
}
