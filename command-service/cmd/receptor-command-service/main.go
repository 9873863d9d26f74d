// The receptor-command-service program runs an interactive command for each stream to a
// service in the mesh. It is a plug: it attaches to a receptor-core.
package main

import (
	"os"

	commandservice "github.com/project-receptor/receptor/command-service"
	"github.com/project-receptor/receptor/plug/plugcmd"
)

func main() {
	if status, done := commandservice.Watch(); done {
		os.Exit(status)
	}
	os.Exit(plugcmd.Main(commandservice.New()))
}
