package program

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	if id, err := Identify("", ""); id != nil || err != nil {
		t.Errorf("nobody named: %+v, %v", id, err)
	}
	if _, err := Identify("no such user", ""); err == nil {
		t.Error("a user that does not exist was found")
	}
	if _, err := Identify("", "no such group"); err == nil {
		t.Error("a group that does not exist was found")
	}
	if os.Geteuid() != 0 {
		if _, err := Identify("0", ""); err == nil || !strings.Contains(err.Error(), "only root") {
			t.Errorf("root, for somebody else: %v", err)
		}
		t.Skip("the rest is for root")
	}
	for name, want := range map[string]string{"root": "0 0 root", "0": "0 0 root", "54321": "54321 54321 "} {
		id, err := Identify(name, "")
		if err != nil || fmt.Sprint(id.UID, " ", id.GID, " ", id.Name) != want {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if id, err := Identify("root", "54321"); err != nil || id.GID != 54321 {
		t.Errorf("a group of its own: %+v, %v", id, err)
	}
}
