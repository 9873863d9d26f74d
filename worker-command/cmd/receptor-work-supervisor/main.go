// The receptor-work-supervisor program looks after one unit of work. It is started by
// receptor-worker-command, and outlives it.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/project-receptor/receptor/worker-command/internal/supervisor"
)

// The unit is killed at the end of the thread that has started it: main's, which
// ends with the process.
func init() { runtime.LockOSThread() }

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 1 && args[0] == "--version":
		module, version := "unknown module", "(unknown)"
		if info, ok := debug.ReadBuildInfo(); ok {
			module, version = info.Main.Path, info.Main.Version
		}
		fmt.Printf("receptor-work-supervisor %s (%s)\n", version, module)
		return
	case len(args) == 1 && args[0] == "--help":
		fmt.Println("Usage: receptor-work-supervisor --version | --help")
		fmt.Println()
		fmt.Println(supervisor.ErrUsage)
		return
	}
	switch err := supervisor.Run(args); {
	case errors.Is(err, supervisor.ErrUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "receptor-work-supervisor: %v\n", err)
		os.Exit(1)
	}
}
