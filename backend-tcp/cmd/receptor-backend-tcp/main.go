// The receptor-backend-tcp program makes links between nodes over TCP. It is a
// plug: it attaches to a receptor-core.
package main

import (
	"os"

	backendtcp "github.com/project-receptor/receptor/backend-tcp"
	"github.com/project-receptor/receptor/plug/plugcmd"
)

func main() { os.Exit(plugcmd.Main(backendtcp.New())) }
