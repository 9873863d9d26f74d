// The receptor-proxy-tcp program lets TCP applications talk through the mesh.
// It is a plug: it attaches to a receptor-core.
package main

import (
	"os"

	"github.com/project-receptor/receptor/plug/plugcmd"
	proxytcp "github.com/project-receptor/receptor/proxy-tcp"
)

func main() { os.Exit(plugcmd.Main(proxytcp.New())) }
