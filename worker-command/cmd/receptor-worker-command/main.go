// The receptor-worker-command program runs units of work as commands. It is a plug: it
// attaches to a receptor-core.
package main

import (
	"os"

	"github.com/project-receptor/receptor/plug/plugcmd"
	workercommand "github.com/project-receptor/receptor/worker-command"
)

func main() { os.Exit(plugcmd.Main(workercommand.New())) }
