// The receptor-proxy-udp program carries UDP of applications through the mesh. It is a
// plug: it attaches to a receptor-core.
package main

import (
	"os"

	"github.com/project-receptor/receptor/plug/plugcmd"
	proxyudp "github.com/project-receptor/receptor/proxy-udp"
)

func main() { os.Exit(plugcmd.Main(proxyudp.New())) }
