//go:build unix

package core

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/cmd/internal/config"
)

func TestItemsFromADescriptor(t *testing.T) {
	t.Parallel()
	items, err := config.Encode([]config.Item{{Kind: "node", Params: map[string]any{"": "n"}, Label: "node-id n"}, {Kind: "x", Params: map[string]any{}, Label: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(items); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dup, err := syscall.Dup(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseArgs([]string{"--items-fd", fmt.Sprint(dup), "--y"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Config.NodeID != "n" || len(a.Items) != 2 || a.Items[0].Kind != "x" || a.Items[1].Kind != "y" {
		t.Errorf("got %+v", a)
	}
}
