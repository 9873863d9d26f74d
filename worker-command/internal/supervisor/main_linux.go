package supervisor

import (
	"errors"
	"fmt"
	"os"
)

// Run is the program, with its arguments. The goroutine that calls it must be locked
// to a thread for good: at that thread's end the unit is killed.
func Run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == argUnit: // the unit's ID is for whoever looks at processes
		if err := supervise(); err != nil {
			return fmt.Errorf("unit %s: %w", args[1], err)
		}
		return nil
	case len(args) > 0 && args[0] == argExec:
		err := becomeUnit(args[1:])
		said := os.NewFile(saidFD, "said")
		_, writeErr := said.WriteString(err.Error())
		return errors.Join(err, writeErr)
	}
	return ErrUsage
}
