// The receptor-proxy-tun program carries IP packets through the mesh. It is a plug: it
// attaches to a receptor-core.
package main

import (
	"os"

	"github.com/project-receptor/receptor/plug/plugcmd"
	proxytun "github.com/project-receptor/receptor/proxy-tun"
)

func main() { os.Exit(plugcmd.Main(proxytun.New())) }
