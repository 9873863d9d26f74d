package commandservice

import (
	"os"
	"testing"
)

// TestMain makes this program one that can watch commands.
func TestMain(m *testing.M) {
	if status, done := Watch(); done {
		os.Exit(status)
	}
	os.Exit(m.Run())
}
