package watch

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"time"
)

// markName is a variable of all that is born of a command, by which it is found where
// its watcher was killed.
const markName = "RECEPTOR_SESSION"

func newMark() string { return markName + "=" + rand.Text() }

// killMarked kills all processes with a mark, until there are none. It is for the plug, as no reaper of theirs
// is left.
func killMarked(mark string) error {
	for end := time.Now().Add(giveUp); ; time.Sleep(killAgain) {
		n, err := killMarkedOnce(mark)
		if n == 0 || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes are left", n)
		}
	}
}

func killMarkedOnce(mark string) (n int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || !hasMark(pid, mark) {
			continue
		}
		p, err := os.FindProcess(pid) // from here on nobody else is meant, even if that one ends
		if err != nil {
			continue // it has ended
		}
		if hasMark(pid, mark) {
			n++
			_ = p.Kill() // fails if it has ended; if it may not be killed, it is found again
		}
		_ = p.Release()
	}
	return n, nil
}

// hasMark tells whether a process has a mark in its environment. Those that cannot be
// read are others', or have ended.
func hasMark(pid int, mark string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if string(v) == mark {
			return true
		}
	}
	return false
}
