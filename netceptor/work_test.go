package netceptor

import (
	"fmt"
	"slices"
	"testing"
)

// The types of work that a node offers are in the advertisements of its control
// services, those of before and those of later, and in no others.
func TestWorkCommands(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b")
	a, b := nodes[0], nodes[1]
	listen := func(service string, tags map[string]string) {
		t.Helper()
		l, err := b.Listen(service, ListenOptions{Advertise: true, Tags: tags})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	control := map[string]string{"type": "Control Service"}
	listen("control", control)
	listen("proxy", map[string]string{"type": "TCP Proxy"})
	want := []WorkCommand{{"echo", false}, {"sign", true}}
	if err := b.SetWorkCommands(want); err != nil {
		t.Fatal(err)
	}
	listen("late", control)
	for _, n := range nodes {
		for service, want := range map[string][]WorkCommand{"control": want, "late": want, "proxy": nil} {
			waitFor(t, n, "the advertisement of "+service, func(s Status) bool {
				return slices.ContainsFunc(s.Advertisements, func(ad Advertisement) bool {
					return ad.NodeID == "b" && ad.Service == service && slices.Equal(ad.WorkCommands, want)
				})
			})
		}
	}

	var many []WorkCommand
	for i := range 1000 {
		many = append(many, WorkCommand{WorkType: fmt.Sprintf("a-rather-long-name-%d", i)})
	}
	if err := b.SetWorkCommands(many); err == nil {
		t.Error("an advertisement that nobody takes is made")
	}
	if got := b.Explain("b", "control").Advertisement.WorkCommands; !slices.Equal(got, want) {
		t.Errorf("after that, %v", got)
	}
	if err := b.SetWorkCommands(nil); err != nil {
		t.Error(err)
	}
	waitFor(t, a, "the end of work", func(s Status) bool {
		return !slices.ContainsFunc(s.Advertisements, func(ad Advertisement) bool { return len(ad.WorkCommands) > 0 })
	})
}
