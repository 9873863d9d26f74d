// Command receptor-core is a node of the mesh: links, routing, streams and the
// control conversation. Backends, proxies and workers are plugs, programs of
// their own that attach to its socket.
package main

import (
	"os"

	"github.com/project-receptor/receptor/cmd/internal/core"
)

func main() { os.Exit(core.Main(os.Args[1:])) }
