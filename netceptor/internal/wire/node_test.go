package wire

import (
	"strings"
	"testing"
)

func TestCheckNodeID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "node-1.example.com", "ünï", "with:colon and space", strings.Repeat("x", MaxNodeID)} {
		if err := CheckNodeID(id); err != nil {
			t.Errorf("%.20q: %v", id, err)
		}
	}
	for _, id := range []string{"", "localhost", "LocalHost", "\xff", strings.Repeat("x", MaxNodeID+1)} {
		if err := CheckNodeID(id); err == nil {
			t.Errorf("%.20q was accepted", id)
		}
	}
}
