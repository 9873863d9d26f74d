package socket

import (
	"syscall"
	"unsafe"
)

func peerCred(fd uintptr) (Cred, error) {
	u, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return Cred{}, err
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Cred{}, err
	}
	return Cred{UID: u.Uid, GID: u.Gid, Groups: groups, PID: int(u.Pid), Known: true}, nil
}

// soPeerGroups is the same number on all systems that getsockopt is built for.
const soPeerGroups = 59

// peerGroups asks for the supplementary groups; kernels before 4.13 do not tell.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(4 * len(groups)) //nolint:gosec // at most 65536 groups
		errno := getsockopt(fd, syscall.SOL_SOCKET, soPeerGroups, unsafe.Pointer(&groups[0]), &size)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == syscall.ENOPROTOOPT || errno == syscall.ENOSYS:
			return nil, nil
		case errno == syscall.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}
