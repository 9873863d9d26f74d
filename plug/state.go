package plug

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/project-receptor/receptor/plug/socket"
)

// StateRoot is where nodes and plugs keep what outlives them, a directory for each
// node: $STATE_DIRECTORY, else /var/lib/receptor for root, else receptor in
// $XDG_STATE_HOME or ~/.local/state. It is empty if there is none.
func StateRoot() string {
	// systemd names the directory that it has made for the service.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/receptor"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "receptor")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "receptor")
}

// SafeName is a name as one of a directory: itself where it is safe, else h- and a
// part of its digest.
func SafeName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return socket.NodeDir(name, binary.BigEndian.Uint64(sum[:]))
}

// StateDir is a directory for what the plug keeps, apart for each node: name in that of
// the node below StateRoot. It is not made.
func (it *Item) StateDir(name string) (string, error) {
	root := StateRoot()
	if root == "" {
		return "", errors.New("there is no directory for state: set STATE_DIRECTORY")
	}
	it.runner.mu.Lock()
	defer it.runner.mu.Unlock()
	return filepath.Join(root, SafeName(it.runner.node), name), nil
}
