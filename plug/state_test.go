package plug

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestStateDirOfANode(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "/state/one:/state/two")
	for node, want := range map[string]string{"alpha": "alpha", "a.b-c_d": "a.b-c_d", "..": "h-", "a/b": "h-", "": "h-", strings.Repeat("n", 99): "h-"} {
		it := &Item{runner: &runner{node: node}}
		got, err := it.StateDir("plug")
		if name := filepath.Base(filepath.Dir(got)); err != nil || !strings.HasPrefix(got, "/state/one/") || !strings.HasPrefix(name, want) || filepath.Base(got) != "plug" {
			t.Errorf("%q: %s, %v", node, got, err)
		}
	}
	t.Setenv("STATE_DIRECTORY", "relative")
	t.Setenv("XDG_STATE_HOME", "relative")
	if got := StateRoot(); !filepath.IsAbs(got) || !strings.HasSuffix(got, "receptor") {
		t.Errorf("relative ones count for nothing: %s", got)
	}
}
