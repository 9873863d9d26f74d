package ctl

import "testing"

func TestLeaving(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		keys, sent string
		leave      bool
	}{
		{"ls\r", "ls\r", false},
		{"~.more", "", true},
		{"ls\r~.", "ls\r", true},
		{"ls\n~.", "ls\n", true},
		{"ls ~.\r", "ls ~.\r", false},
		{"~~.\r", "~.\r", false},
		{"~/bin/x\r", "~/bin/x\r", false},
		{"~", "", false},
		{"~\r~.", "~\r", true},
		{"\r~~~.", "\r~~.", false},
		{"", "", false},
	} {
		for _, step := range []int{1, len(tc.keys) + 1} {
			var l leaving
			sent, leave := "", false
			for rest := tc.keys; rest != "" && !leave; {
				n := min(step, len(rest))
				var s []byte
				s, leave = l.filter([]byte(rest[:n]))
				sent, rest = sent+string(s), rest[n:]
			}
			if sent != tc.sent || leave != tc.leave {
				t.Errorf("%q, %d at a time: sent %q, leave %v; want %q, %v", tc.keys, step, sent, leave, tc.sent, tc.leave)
			}
		}
	}
}
