package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program, wherever it is, and whatever has been installed in its place.
const self = "/proc/self/exe"

// Watcher is a watcher, as the plug sees it.
type Watcher struct {
	PID int // of the command

	mark    string // of all processes of the command
	process *os.Process
	conn    *net.UnixConn
	words   *json.Decoder
}

// Start has a watcher run a command on a terminal. about says to people what it is. An error says
// that nothing runs.
func Start(o Order, tty *os.File, about string) (*Watcher, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	w := &Watcher{mark: newMark(), conn: ours, words: json.NewDecoder(ours)}
	o.Env = append(slices.Clone(o.Env), w.mark)
	w.process, err = os.StartProcess(self, []string{os.Args[0], Arg, about}, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{tty, os.Stderr, os.Stderr, theirs},
		Sys:   &syscall.SysProcAttr{Setsid: true}, // what the plug's terminal is told is not for it
	})
	_ = theirs.Close() // here: the end of the watcher is to be seen
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a watcher: %w", err), ours.Close())
	}
	err = json.NewEncoder(ours).Encode(o)
	var first word
	if err == nil {
		first, err = w.word()
	}
	if err == nil && first.Err != "" {
		err = errors.New(first.Err)
	}
	if err != nil {
		return nil, errors.Join(err, w.leave())
	}
	w.PID = first.PID
	return w, nil
}

// pair makes a pair of connected sockets, of which the second is for another process.
func pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file, theirs := os.NewFile(uintptr(fds[0]), "watcher"), os.NewFile(uintptr(fds[1]), "plug")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// word reads what the watcher says next.
func (w *Watcher) word() (said word, err error) {
	if err = w.words.Decode(&said); errors.Is(err, io.EOF) {
		err = errors.Join(errors.New("its watcher was killed, and the command with it"), killMarked(w.mark))
	}
	return said, err
}

// HangUp has it end the command and all that was born of it. It may be called at any time.
func (w *Watcher) HangUp() { _ = w.conn.CloseWrite() } // fails if it has ended

// Wait waits for the end of the command and all that was born of it.
func (w *Watcher) Wait() (End, error) {
	last, err := w.word()
	if err == nil && last.End == nil {
		err = fmt.Errorf("its watcher says %+v", last)
	}
	if err = errors.Join(err, w.leave()); err != nil {
		return End{}, err
	}
	return *last.End, nil
}

// leave waits for the end of the watcher, which it brings about if that has not come.
func (w *Watcher) leave() error {
	err := w.conn.Close()
	_, werr := w.process.Wait()
	return errors.Join(err, werr)
}
