// The receptor-backend-ws program makes links between nodes over WebSocket. It is
// a plug: it attaches to a receptor-core.
package main

import (
	"os"

	backendws "github.com/project-receptor/receptor/backend-ws"
	"github.com/project-receptor/receptor/plug/plugcmd"
)

func main() { os.Exit(plugcmd.Main(backendws.New())) }
