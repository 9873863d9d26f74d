package check_test

import (
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
)

var checkedRoles = []string{wire.RoleLink, wire.RoleStream, wire.RoleWorker, wire.RolePacket}

// A good plug passes each check; where the medium is not played, each that does without.
func TestGoodPlugPasses(t *testing.T) {
	t.Parallel()
	ports := new(check.Ports)
	var checks sync.WaitGroup
	turn := make(chan struct{}, 16) // they mostly wait
	for _, role := range checkedRoles {
		for _, medium := range []string{check.MediumTCP, check.MediumNone} {
			o := check.Options{
				Role: role, Medium: medium, Start: inProcess(goodPlug(role), nil), Timeout: patience, Ports: ports, Work: units,
			}
			for _, c := range check.Checks(role, check.Both, "") {
				turn <- struct{}{}
				checks.Go(func() {
					defer func() { <-turn }()
					r := check.RunOne(t.Context(), o, c)
					want := check.OK
					if c.ID == "program/describe" || c.PlaysMedium && medium == check.MediumNone {
						want = check.Skip
					}
					if r.Outcome != want {
						t.Errorf("%s, medium %s: %v", role, medium, r)
					}
				})
			}
		}
	}
	checks.Wait()
}

func TestIDs(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z]+/[a-z-]+$`)
	const fewest = 6 // of the role packet, which hands nothing over
	for _, role := range checkedRoles {
		seen := map[string]bool{}
		for _, c := range check.Checks(role, check.Both, "") {
			key := fmt.Sprint(c.ID, c.Handoff)
			if !form.MatchString(c.ID) || seen[key] || c.About == "" {
				t.Errorf("%s: %q is no ID, or there twice, or says nothing", role, c.ID)
			}
			seen[key] = true
		}
		relay, handoff := len(check.Checks(role, check.Relay, "")), len(check.Checks(role, check.Handoff, ""))
		if both := len(check.Checks(role, check.Both, "")); relay+handoff != both || relay < 15 || handoff < fewest {
			t.Errorf("%s: %d checks of which %d relay and %d hand over", role, both, relay, handoff)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]int{
		"session/ping": 1, "session/pi*": 1, "session/drain": 2, "stream": 0, "no/such": 0, "[": 0,
	} {
		if n := len(check.Checks(wire.RoleLink, check.Both, pattern)); n != want {
			t.Errorf("%s names %d checks, want %d", pattern, n, want)
		}
	}
	if n := len(check.Checks(wire.RoleLink, check.Both, "link")); n < 5 {
		t.Errorf("the group link has %d checks", n)
	}
}
