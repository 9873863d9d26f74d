package launcher

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFindPlugs(t *testing.T) {
	t.Parallel()
	first := install(t, "receptor-backend-fake", "receptor-proxy-a", "receptor-proxy-b", "receptor-worker-c", "receptor-core", "receptor-odd-d", "other")
	second := install(t, "receptor-backend-fake", "receptor-proxy-b", "receptor-observe-e")
	if err := os.Mkdir(filepath.Join(first, "receptor-command-dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(first, "other"), filepath.Join(first, "receptor-command-link")); err != nil {
		t.Fatal(err)
	}
	// Copies of their own: rights belong to the file, not to a link of it.
	for name, mode := range map[string]os.FileMode{"receptor-proxy-b": 0o722, "receptor-worker-c": 0o600} {
		path := filepath.Join(first, name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}

	found, ignored := findPlugs([]string{"/no/such/dir", first, second})
	var names []string
	for _, p := range found {
		names = append(names, p.Name+" in "+map[string]string{first: "first", second: "second"}[filepath.Dir(p.Path)])
	}
	want := "receptor-backend-fake in first, receptor-command-link in first, receptor-observe-e in second, receptor-proxy-a in first, receptor-proxy-b in second"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("found\n\t%s\nwant\n\t%s", got, want)
	}
	for name, want := range map[string]string{"receptor-worker-c": "not executable", "receptor-command-dir": "not a regular file"} {
		if err := ignored[name]; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ...%s...", name, err, want)
		}
	}
	if len(ignored) != 2 {
		t.Errorf("ignored: %v", ignored)
	}
}

func TestFindCore(t *testing.T) {
	t.Parallel()
	dir := install(t, "receptor-core")
	p, err := findCore([]string{t.TempDir(), dir})
	if err != nil || p.Path != filepath.Join(dir, "receptor-core") {
		t.Errorf("got %v, %v", p, err)
	}
	if _, err := findCore([]string{t.TempDir()}); err == nil || !strings.HasPrefix(err.Error(), "receptor-core is not installed") {
		t.Errorf("got %v", err)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	dir := install(t, "receptor-backend-fake", "receptor-backend-slow", "receptor-backend-tcp", "receptor-proxy-garbage", "receptor-proxy-talkative", "receptor-proxy-impossible")
	for name, want := range map[string]string{
		"receptor-backend-tcp":      "exit status 1",
		"receptor-proxy-garbage":    "invalid character",
		"receptor-proxy-talkative":  "it prints more than 1 MiB",
		"receptor-proxy-impossible": "a name is made of",
	} {
		if _, err := describe(t.Context(), Program{name, filepath.Join(dir, name)}, time.Minute, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ...%s...", name, err, want)
		}
	}
	_, err := describe(t.Context(), Program{"receptor-backend-slow", filepath.Join(dir, "receptor-backend-slow")}, 10*time.Millisecond, nil)
	if err == nil || !strings.Contains(err.Error(), "no answer within 10ms") {
		t.Errorf("slow: %v", err)
	}
	plug, err := describe(t.Context(), Program{"receptor-backend-fake", filepath.Join(dir, "receptor-backend-fake")}, time.Minute, nil)
	if err != nil || plug.Version != "v1.2.3" {
		t.Fatalf("%+v, %v", plug, err)
	}
	var params []string
	for _, p := range plug.Kinds[0].Params {
		params = append(params, p.Name)
	}
	if got := strings.Join(params, " "); got != "address redial fail cost allowedpeers" {
		t.Errorf("parameters: %s", got)
	}
}

// fakeCatalog has the fake plug, and what is wrong with others.
func fakeCatalog(t *testing.T) []string {
	t.Helper()
	return []string{install(t, "receptor-backend-fake", "receptor-backend-tcp", "receptor-proxy-garbage")}
}

func TestWrongConfigurations(t *testing.T) {
	t.Parallel()
	dirs := fakeCatalog(t)
	c := Discover(t.Context(), dirs, time.Minute, nil)
	for _, tt := range []struct {
		name, args, want string
	}{
		{"a kind to install", "--ws-peer ws://h/", "ws-peer ws://h/: unknown kind ws-peer: install receptor-backend-ws"},
		{"a kind whose plug is broken", "--tcp-peer h:1", "tcp-peer h:1: unknown kind tcp-peer: " + dirs[0] + "/receptor-backend-tcp does not describe itself: exit status 1"},
		{"a slip", "--fake-pear h:1", "fake-pear h:1: unknown kind fake-pear: did you mean fake-peer?"},
		{"a slip in a kind of the core", "--log-levl debug", "log-levl debug: unknown kind log-levl: did you mean log-level?"},
		{"a kind of nobody's", "--serial-line x", "serial-line x: unknown kind serial-line: no installed plug claims it; " +
			dirs[0] + "/receptor-backend-tcp does not describe itself: exit status 1; " + dirs[0] + "/receptor-proxy-garbage does not describe itself: invalid character 'h' looking for beginning of value"},
		{"a parameter that is missing", "--fake-peer", "fake-peer: parameter address is required: expected host:port"},
		{"a value of another type", "--fake-peer h:1 redial=perhaps", `fake-peer h:1 redial=perhaps: parameter redial: expected true or false, got "perhaps"`},
		{"an address that is none", "--fake-peer nowhere", `fake-peer nowhere: parameter address: expected host:port, got "nowhere"`},
		{"an unknown parameter", "--fake-peer h:1 colour=red", "fake-peer h:1 colour=red: unknown parameter colour; fake-peer takes address, redial, fail, cost, allowedpeers"},
		{"a misspelt parameter", "--fake-peer h:1 redail=no", "fake-peer h:1 redail=no: unknown parameter redail; did you mean redial? fake-peer takes address, redial, fail, cost, allowedpeers"},
		{"a cost below zero", "--fake-peer h:1 cost=-1", `fake-peer h:1 cost=-1: parameter cost: expected a number above 0, at most 1e9, got "-1"`},
		{"a parameter twice", "--fake-peer h:1 address=h:2", `fake-peer h:1 address=h:2: parameter address is given twice: "h:1" and "h:2"`},
		{"an item twice", "--fake-peer h:1 --Feigned-Peer address=h:1 cost=2", `feigned-peer address=h:1 cost=2: there can be one fake-peer address=h:1 only, and "fake-peer h:1" is one already`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := c.Check(items(t, strings.Fields(tt.args)...))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got\n\t%v\nwant\n\t%s", err, tt.want)
			}
		})
	}
}

func TestAllMistakesAreTold(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "n.yml")
	if err := os.WriteFile(file, []byte("- node: {idd: n}\n- fake-peer: {address: 5}\n- ws-peer: x\n- 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := output(t, fakeCatalog(t), "-c", file, "--socket", "a", "b")
	if status != statusUsage || strings.Count(stderr, "\n") != 5 {
		t.Errorf("status %d:\n%s", status, stderr)
	}
	for _, want := range []string{file + ":1: node: unknown parameter idd", file + ":2: fake-peer: parameter address", file + ":3: ws-peer: unknown kind", file + ":4: expected the name of a kind", "--socket takes one value"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
}

func TestRightConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := output(t, fakeCatalog(t), strings.Fields("--check --node-id n --fake-peer h:1 cost=2.5 allowedpeers=a allowedpeers=b --feigned-peer address=h:2 --local-only")...)
	if status != statusOK || stdout+stderr != "" {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

func TestSlowPlugGetsASecondChance(t *testing.T) {
	t.Parallel()
	dirs := fakeCatalog(t)
	c := &Catalog{Ignored: map[string]error{"receptor-backend-fake": &describeError{
		Program{"receptor-backend-fake", filepath.Join(dirs[0], "receptor-backend-fake")}, context.DeadlineExceeded,
	}}}
	wanted := items(t, "--fake-peer", "h:1")
	if c.Complete(wanted) {
		t.Error("complete without any plug")
	}
	c.Retry(t.Context())
	if !c.Complete(wanted) || len(c.Ignored) != 0 {
		t.Errorf("catalog: %+v", c)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	dirs := fakeCatalog(t)
	for _, args := range [][]string{nil, {"--nonsense", "--help"}} {
		status, stdout, stderr := output(t, dirs, args...)
		if status != statusOK || stderr != "" {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
		for _, want := range []string{
			"Usage:", "--control-service", "also --controlsock", "Kinds of receptor-backend-fake (" + dirs[0], "--fake-peer\n        Make believe",
			"also --feigned-peer, with default redial=false", "address       address  where to; required; may be given without its name",
			"default true", "allowedpeers  list", "Not used: " + dirs[0] + "/receptor-backend-tcp",
		} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q: %q is not in\n%s", args, want, stdout)
			}
		}
	}
	status, stdout, _ := output(t, dirs, "--help", "FEIGNED-peer")
	if status != statusOK || !strings.HasPrefix(stdout, "\n  --fake-peer\n") {
		t.Errorf("status %d\n%s", status, stdout)
	}
	status, _, stderr := output(t, dirs, "--help", "fake-pear")
	if status != statusUsage || stderr != "--help: unknown kind fake-pear: did you mean fake-peer?\n" {
		t.Errorf("status %d, %s", status, stderr)
	}
	status, stdout, _ = output(t, dirs, "--version")
	if status != statusOK || !strings.HasPrefix(stdout, "receptor ") {
		t.Errorf("status %d\n%s", status, stdout)
	}
}
