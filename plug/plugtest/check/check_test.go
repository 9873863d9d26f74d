package check_test

import (
	"regexp"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
)

var checkedRoles = []string{wire.RoleLink, wire.RoleStream}

// A good plug passes each check.
func TestGoodPlugPasses(t *testing.T) {
	t.Parallel()
	ports := new(check.Ports)
	for _, role := range checkedRoles {
		for _, c := range check.Checks(role, "") {
			t.Run(role+"/"+c.ID, func(t *testing.T) {
				t.Parallel()
				r := check.RunOne(t.Context(), check.Options{Role: role, Start: inProcess(goodPlug(role), nil), Ports: ports}, c)
				if r.Outcome == check.Fail || r.Outcome == check.Skip && c.ID != "program/describe" {
					t.Error(r)
				}
			})
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z]+/[a-z-]+$`)
	for _, role := range checkedRoles {
		seen := map[string]bool{}
		for _, c := range check.Checks(role, "") {
			if !form.MatchString(c.ID) || seen[c.ID] || c.About == "" {
				t.Errorf("%s: %q is no ID, or there twice, or says nothing", role, c.ID)
			}
			seen[c.ID] = true
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]int{
		"session/ping": 1, "session/pi*": 1, "stream": 0, "descriptors": 1, "no/such": 0, "[": 0,
	} {
		if n := len(check.Checks(wire.RoleLink, pattern)); n != want {
			t.Errorf("%s names %d checks, want %d", pattern, n, want)
		}
	}
	if n := len(check.Checks(wire.RoleLink, "link")); n < 5 {
		t.Errorf("the group link has %d checks", n)
	}
}
