package plugcmd

import (
	"os"
	"os/signal"

	"github.com/project-receptor/receptor/plug/successor"
)

// leaves is closed when a successor's starter asks this process to leave.
func leaves() <-chan struct{} {
	signals, asked := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, successor.Leave)
	go func() { // ends with the process
		<-signals
		close(asked)
	}()
	return asked
}
