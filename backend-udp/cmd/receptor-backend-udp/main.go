// The receptor-backend-udp program makes links between nodes over UDP. It is a
// plug: it attaches to a receptor-core.
package main

import (
	"os"

	backendudp "github.com/project-receptor/receptor/backend-udp"
	"github.com/project-receptor/receptor/plug/plugcmd"
)

func main() { os.Exit(plugcmd.Main(backendudp.New())) }
