// Command receptor runs a node from one command line or file: it starts the
// core and the plugs that the configuration needs, and keeps them running.
package main

import (
	"os"

	"github.com/project-receptor/receptor/cmd/internal/launcher"
)

func main() {
	l := launcher.Launcher{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(l.Main(os.Args[1:]))
}
