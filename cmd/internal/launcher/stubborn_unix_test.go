//go:build unix

package launcher

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/project-receptor/receptor/plug/wire"
)

// stubborn is a plug that does not end when it is asked to.
func stubborn() int {
	if os.Args[1] == "describe" {
		b, err := json.Marshal(wire.Hello{Kinds: []wire.Kind{{Kind: "stubborn", Role: wire.RoleWorker, Help: "Stay"}}})
		if err != nil {
			return 1
		}
		fmt.Println(string(b))
		return 0
	}
	signal.Ignore(syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "here I stay")
	select {}
}
