package main

import (
	"bytes"
	"testing"
)

// A type of work is a program: the bytes go through it, its arguments are those of
// the flag and of the unit, and how it ends is how the unit does.
func TestWorkCommand(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-id", "a", "-work-command", "tr=tr a-z", "-work-command", "ls=ls /nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := o.types["tr"](t.Context(), "A-Z", []byte("bytes"), &out); err != nil || out.String() != "BYTES" {
		t.Errorf("%q, %v", &out, err)
	}
	out.Reset()
	if err := o.types["ls"](t.Context(), "", nil, &out); err == nil || err.Error() != "exit status 2" || out.Len() == 0 {
		t.Errorf("%q, %v", &out, err)
	}
	for _, wrong := range []string{"tr", "=tr", "tr="} {
		if _, err := parse([]string{"-work-command", wrong}); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
