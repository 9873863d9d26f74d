// Package plugcmd is the command line that all plug programs share: describe,
// --socket, --log-level, --version, --help, signals and exit statuses.
package plugcmd

import "github.com/project-receptor/receptor/plug"

// Main runs the program for p with the process's arguments and returns the exit
// status: 0 after an orderly stop, 1 on failure, 2 for a bad command line or
// when there is no core to attach to.
func Main(p *plug.Plug) int { return 2 }
