package core

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A node without workers cannot be made to run anything, and says so.
func TestWorkWithoutWorkers(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	o := options(t, dir)
	stop := start(t, o)
	path := o.Config.ControlSocket()
	for line, want := range map[string]string{
		"work list":                  "{}\n",
		"work submit localhost sh x": "ERROR: unknown work type sh\n",
		`{"command":"work","subcommand":"submit","node":"n","worktype":"sh","params":"x"}`:             "ERROR: unknown work type sh\n",
		`{"v":1,"id":1,"command":"work","args":{"subcommand":"submit","type":"sh"}}`:                   `{"id":1,"error":{"code":"unknown_type","msg":"unknown work type sh"}}` + "\n",
		`{"v":1,"id":2,"command":"work","args":{"subcommand":"list"}}`:                                 `{"id":2,"result":{"nodes":[],"types":[],"units":[]}}` + "\n",
		`{"v":1,"id":3,"command":"work","args":{"subcommand":"status","unit":"../../etc/passwd"}}`:     `{"id":3,"error":{"code":"not_found","msg":"unknown work unit ../../etc/passwd"}}` + "\n",
		`{"command":"work","subcommand":"release","unitid":"../../etc"}`:                               "ERROR: unknown work unit ../../etc\n",
		`{"command":"work","subcommand":"results","unitid":"unit0001","startpos":0}`:                   "ERROR: unknown work unit unit0001\n",
		`{"command":"work","subcommand":"submit","node":"elsewhere","worktype":"sh","tlsclient":"no"}`: "ERROR: unknown TLS config no\n",
		`{"command":"work","subcommand":"submit","node":"elsewhere","worktype":"sh"}`:                  "ERROR: no way to node elsewhere\n",
	} {
		if got := ask(t, path, line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Join(o.Config.DataDir, o.Config.NodeDir(), unitsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("a refused submit has left %s", e.Name())
		}
	}
}
