package integration

import (
	"strings"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// checkRaces fails the test if a program's race detector has spoken, or if it
// has panicked: neither need have changed what the test saw.
func checkRaces(t *testing.T, p *lab.Process) {
	t.Helper()
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if strings.Contains(p.Output(), bad) {
			t.Errorf("%s wrote %q:\n%s", p.Name, bad, p.Output())
		}
	}
}
