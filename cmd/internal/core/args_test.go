package core

import (
	"strings"
	"testing"
)

// Help knows the kinds of the core's own, and says of others where they are.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ arg, want, mistake string }{
		{"", "\n  --tls-server\n", ""},
		{"TLS-Server", "\n  --tls-server\n", ""},
		{"debug", "\n  --log-level\n", ""}, // another name of it
		{"tcp-peer", "", "tcp-peer is no kind of the core's own"},
	} {
		a, err := ParseArgs(append([]string{"--help"}, strings.Fields(tt.arg)...))
		switch {
		case tt.mistake != "":
			if err == nil || !strings.Contains(err.Error(), tt.mistake) {
				t.Errorf("%q: %v, want ...%s...", tt.arg, err, tt.mistake)
			}
		case err != nil || !strings.Contains(a.Help, tt.want):
			t.Errorf("%q: %v; no %q in\n%s", tt.arg, err, tt.want, a.Help)
		case tt.arg != "" && strings.Contains(a.Help, "Usage:"):
			t.Errorf("%q: all the help there is", tt.arg)
		}
	}
}
