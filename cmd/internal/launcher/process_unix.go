//go:build unix

package launcher

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// canInherit: children can be given descriptors.
const canInherit = true

// trust refuses what is not a program, or what others than root and we could
// have written.
func trust(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case info.Mode().Perm()&0o111 == 0:
		return errors.New("it is not executable")
	case info.Mode().Perm()&0o022 != 0:
		return errors.New("others than its owner can write it")
	case !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return errors.New("it belongs to neither root nor this user")
	}
	return nil
}

// detach gives a child a process group of its own: an interrupt from the
// terminal reaches the launcher alone, which then stops its children in order.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// become has a program that is not started yet run as that user.
func (as *identity) become(cmd *exec.Cmd) {
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.UID, Gid: as.GID, Groups: as.Groups}
	cmd.Env = as.environ()
}

// rootOwns tells whether a directory is root's, and nobody else can put something else
// in the place of what root makes there.
func rootOwns(dir string) bool {
	i, err := os.Stat(dir)
	return err == nil && owner(dir) == 0 && (i.Mode().Perm()&0o022 == 0 || i.Mode()&os.ModeSticky != 0)
}

// owner is the user that a file belongs to, -1 if it is not there.
func owner(path string) int {
	i, err := os.Lstat(path)
	if err != nil {
		return -1
	}
	stat, ok := i.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(stat.Uid)
}

// terminate asks a process to end in order.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// killGroup kills a detached process and what it has started.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// ignorePipes keeps a reader of the log that went away from ending us: the
// children are to be looked after all the same.
func ignorePipes() { signal.Ignore(syscall.SIGPIPE) }
