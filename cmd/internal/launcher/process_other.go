//go:build !unix

package launcher

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
)

// canInherit: children can be given no descriptors but the standard ones.
const canInherit = false

// trust refuses what is not a program; rights are the directory's here.
func trust(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	return nil
}

func detach(*exec.Cmd) {}

// become does nothing: there is no root here, who alone has another identity for programs.
func (as *identity) become(*exec.Cmd) {}

func rootOwns(string) bool { return false }

func owner(string) int { return -1 }

// terminate ends a process at once: there is no way to ask here.
func terminate(p *os.Process) error { return p.Kill() }

func killGroup(p *os.Process) error { return p.Kill() }

func ignorePipes() {}
