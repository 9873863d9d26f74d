// Package successor starts this very program in the place of a process of it that runs:
// so an upgrade cuts nothing that the older process relays.
//
// The successor gets the options of the older process, and --takeover. It says on a
// descriptor when a core has let it take over; until then nothing has changed, and the
// older process goes on if that does not come. Then the older one is asked to leave: it
// ends when what it relays has ended. Where systemd looks after it, as ExecReload=
// says, that is told of the process that its service is from then on.
//
// A plug that serves starts nothing: whoever replaces it does, and starts the file
// that it was started from itself, and nothing else.
package successor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"
)

const (
	// readyFD is the descriptor on which a successor says that it has taken over.
	readyFD = 3

	// ready begins what it says: a line, with the name of the node.
	ready = "READY "

	// patience is how long a successor may take until then. A core answers at once; a
	// service manager waits longer for a command.
	patience = 20 * time.Second
)

// Ready says on a descriptor that this process has taken over at a node, and closes it.
func Ready(fd int, node string) error {
	f := os.NewFile(uintptr(fd), "ready")
	if f == nil {
		return fmt.Errorf("descriptor %d is none", fd)
	}
	_, err := f.WriteString(ready + node + "\n")
	return errors.Join(err, f.Close())
}

// Notify tells a service manager a state, where one listens: at path, if that is not empty.
func Notify(path, state string) error {
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

// own are the options that make a process a successor: the first of its command line.
var own = []string{"--takeover", "--ready-fd", strconv.Itoa(readyFD)}

// arguments are the command line of a successor of a process with that one, which may
// be a successor itself.
func arguments(old []string) []string {
	rest := old[1:]
	if len(rest) >= len(own) && slices.Equal(rest[:len(own)], own) {
		rest = rest[len(own):]
	}
	return slices.Concat(old[:1], own, rest)
}
