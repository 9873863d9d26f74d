package packages

import (
	"strings"
	"testing"
)

// A README in the shape of a manual page becomes one: what it says of other programs'
// names does not, and no line of it is taken for a request.
func TestManualPage(t *testing.T) {
	t.Parallel()
	const readme = "# x(1)\n\nAbout the module.\n\n## NAME\n\n**other** - another  \n**x-y** - does things\n\n## SYNOPSIS\n\n```\nx-y [--a]\n.not a request\n```\n\n" +
		"    indented\n    twice\n\n## OPTIONS\n\n| option | type | default | meaning |\n|---|---|---|---|\n| `--a` | bool | `no` | says *a* |\n| `--b` | path | required; bare | says b |\n\n" +
		"Text of [a link](x.md) and a \\ in\ntwo lines.\n- one\n- two\n"
	h := &help{program: "x-y"}
	got := h.man("does things", readme, "1.2.3")
	want := strings.Join([]string{
		`.TH X-Y 1 "" "x-y 1.2.3" Receptor`,
		".SH NAME", `x\-y \- does things`,
		".SH SYNOPSIS", ".PP", ".RS 4", ".nf", `x\-y [\-\-a]`, `\&.not a request`, ".fi", ".RE",
		".PP", ".RS 4", ".nf", "indented", "twice", ".fi", ".RE",
		".SH OPTIONS",
		".TP", `\fB\-\-a\fR (bool; default \fBno\fR)`, `says \fIa\fR`,
		".TP", `\fB\-\-b\fR (path; required; bare)`, "says b",
		".PP", `Text of a link and a \e in`, "two lines.",
		`.IP \(bu 2`, "one", `.IP \(bu 2`, "two", "",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What a unit sets itself counts in place of what all have, and each key once.
func TestUnitFile(t *testing.T) {
	t.Parallel()
	for _, p := range Table {
		if p.Unit == nil {
			continue
		}
		seen := map[string]string{}
		for line := range strings.Lines(p.UnitFile()) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if !ok || strings.HasPrefix(key, "#") {
				continue
			}
			if before, twice := seen[key]; twice {
				t.Errorf("%s: %s is %q and %q", p.Name, key, before, value)
			}
			seen[key] = value
		}
		for key, want := range map[string]string{"NoNewPrivileges": "yes", "User": p.User(), "ExecStart": "/usr/bin/" + p.Name} {
			if got, _, _ := strings.Cut(seen[key], " "); got != want {
				t.Errorf("%s: %s is %q, expected %q", p.Name, key, got, want)
			}
		}
		if seen["CapabilityBoundingSet"] != seen["AmbientCapabilities"] {
			t.Errorf("%s: capabilities %q are bounded by %q", p.Name, seen["AmbientCapabilities"], seen["CapabilityBoundingSet"])
		}
	}
}
