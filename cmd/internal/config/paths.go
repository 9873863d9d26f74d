package config

import (
	"path/filepath"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/socket"
)

// NodeDir is the name of the node's directories, for sockets and for state.
func (c *Core) NodeDir() string { return plug.SafeName(c.NodeID) }

// PlugSocket is the path of the plug socket.
func (c *Core) PlugSocket() string {
	if c.Plugs.Socket != "" {
		return c.Plugs.Socket
	}
	return filepath.Join(socket.Dir(c.NodeDir()), socket.PlugName)
}

// ControlSocket is the path of the node's own control socket, beside the plug socket.
func (c *Core) ControlSocket() string {
	return filepath.Join(filepath.Dir(c.PlugSocket()), socket.ControlName)
}
