package privilege

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// doneEnv tells a process that it has been here: it has narrowed itself and begun anew.
const doneEnv = "RECEPTOR_TUN_NARROWED"

// netAdmin is the set of just CAP_NET_ADMIN.
const netAdmin = uint64(1) << unix.CAP_NET_ADMIN

// Narrow has the process begin anew, with the same ID, arguments and environment, with
// CAP_NET_ADMIN and nothing else, or returns if it is so already. Rights are those of
// threads: only a process that begins has but one, whoever its libraries are. The error
// is ErrMissing if there is no such capability.
func Narrow(o Options) error {
	sets, err := capget()
	if err != nil {
		return err
	}
	if os.Getenv(doneEnv) != "" {
		return narrowed(sets)
	}
	if sets.permitted&netAdmin == 0 {
		return ErrMissing
	}
	id, err := identityFor(o)
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: if this fails the thread has rights of its own
		failed <- anew(id)
	}()
	return <-failed
}

// narrowed checks what a process that began anew has.
func narrowed(sets capabilities) error {
	if err := os.Unsetenv(doneEnv); err != nil {
		return err
	}
	switch {
	case sets.permitted == 0:
		return ErrMissing
	case sets.permitted != netAdmin:
		return fmt.Errorf("the process still has the capabilities %x: it does not run with more than CAP_NET_ADMIN", sets.permitted)
	case sets.effective != netAdmin:
		return fmt.Errorf("the capability of the file is not in effect: have root run: setcap cap_net_admin+ep %s", os.Args[0])
	}
	return nil
}

// identity is who the process is to be.
type identity struct {
	uid, gid int
	groups   []int
	stay     bool // as it is
}

// identityFor finds whom the process becomes.
func identityFor(o Options) (identity, error) {
	if os.Geteuid() != 0 {
		if o.User != "" {
			return identity{}, errors.New("--user is for a program that root has started")
		}
		return identity{stay: true}, nil
	}
	if o.User != "" {
		return parseUser(o.User)
	}
	for _, name := range []string{DefaultUser, "nobody"} {
		if _, err := user.Lookup(name); err != nil {
			continue
		}
		id, err := parseUser(name)
		if err == nil && !id.reaches(o.Socket) {
			return identity{stay: true}, nil
		}
		return id, err
	}
	return identity{}, fmt.Errorf("there is neither a user %s nor nobody: name one with --user", DefaultUser)
}

// parseUser finds a user and its groups.
func parseUser(s string) (id identity, err error) {
	name, group, grouped := strings.Cut(s, ":")
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			n, notNumber := strconv.ParseUint(name, 10, 31)
			if notNumber != nil {
				return id, fmt.Errorf("--user: there is no user %s", name)
			}
			id.uid, id.gid = int(n), int(n) // one without an entry
			u = nil
		}
	}
	if u != nil {
		groups, err := u.GroupIds()
		if err != nil {
			return id, fmt.Errorf("--user: find the groups of %s: %w", name, err)
		}
		if id.groups, err = numbers(groups); err != nil {
			return id, err
		}
		both, err := numbers([]string{u.Uid, u.Gid})
		if err != nil {
			return id, err
		}
		id.uid, id.gid = both[0], both[1]
	}
	if grouped {
		if id.gid, err = groupID(group); err != nil {
			return id, err
		}
	}
	id.stay = id.uid == 0
	return id, nil
}

func numbers(texts []string) (all []int, err error) {
	for _, t := range texts {
		n, err := strconv.Atoi(t)
		if err != nil {
			return nil, fmt.Errorf("--user: number of a user or group: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

func groupID(name string) (int, error) {
	if g, err := user.LookupGroup(name); err == nil {
		name = g.Gid
	}
	n, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("--user: there is no group %s", name)
	}
	return int(n), nil
}

// reaches tells whether a user can reach a socket, or could if it were there.
func (id identity) reaches(socket string) bool {
	if socket == "" {
		return true
	}
	answer := make(chan bool)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := id.become()
		if err == nil {
			err = unix.Faccessat(unix.AT_FDCWD, socket, unix.R_OK|unix.W_OK, unix.AT_EACCESS)
		}
		answer <- !errors.Is(err, unix.EACCES)
	}()
	return <-answer
}

// become makes the thread that user's.
func (id identity) become() error {
	groups := make([]uint32, len(id.groups)+1)
	groups[0] = uint32(id.gid) //nolint:gosec // numbers of the system
	for i, g := range id.groups {
		groups[i+1] = uint32(g) //nolint:gosec // likewise
	}
	// The calls of package syscall would be for all threads.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	gid, uid := uintptr(id.gid), uintptr(id.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return os.NewSyscallError("setresgid", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return os.NewSyscallError("setresuid", errno)
	}
	return nil
}

// anew narrows the thread and has the process begin anew on it. It returns only if
// that cannot be.
func anew(id identity) error {
	if err := bound(); err != nil {
		return err
	}
	if !id.stay {
		if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl(PR_SET_KEEPCAPS)", err)
		}
		if err := id.become(); err != nil {
			return err
		}
	}
	if err := capset(capabilities{netAdmin, netAdmin, netAdmin}); err != nil {
		return err
	}
	// An ambient capability is what is left to a program that begins, without another word.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_ADMIN, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_CAP_AMBIENT_RAISE)", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", err)
	}
	env := append(os.Environ(), doneEnv+"=1")
	if path, err := os.Executable(); err == nil {
		_ = syscall.Exec(path, os.Args, env) // people know it by this name; the user may not get there
	}
	if err := syscall.Exec("/proc/self/exe", os.Args, env); err != nil {
		return fmt.Errorf("begin anew as user %d: %w", id.uid, err)
	}
	return nil
}

// bound takes all but CAP_NET_ADMIN from what the thread could ever have. That is a
// right of its own (CAP_SETPCAP); whoever has it not can have no more, either, once no
// new privileges are given.
func bound() error {
	for c := uintptr(0); ; c++ {
		if c == unix.CAP_NET_ADMIN {
			continue
		}
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); {
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM): // that was the last one
			return nil
		case err != nil:
			return os.NewSyscallError("prctl(PR_CAPBSET_DROP)", err)
		}
	}
}

// capabilities are sets of a thread.
type capabilities struct{ effective, permitted, inheritable uint64 }

func capget() (c capabilities, err error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return c, os.NewSyscallError("capget", err)
	}
	both := func(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }
	return capabilities{
		both(d[0].Effective, d[1].Effective), both(d[0].Permitted, d[1].Permitted), both(d[0].Inheritable, d[1].Inheritable),
	}, nil
}

func capset(c capabilities) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	for i := range d {
		shift := 32 * i
		d[i] = unix.CapUserData{
			Effective: uint32(c.effective >> shift), Permitted: uint32(c.permitted >> shift), Inheritable: uint32(c.inheritable >> shift),
		}
	}
	if err := unix.Capset(&h, &d[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return nil
}

// atSecure is the entry of the auxiliary vector that says that the program was given
// rights which its starter has not.
const atSecure = 23

// FromFile tells whether the process has its rights from its file: then whoever may run
// it has started it, who need not be trusted with them.
func FromFile() (bool, error) {
	entries, err := unix.Auxv()
	if err != nil {
		return false, fmt.Errorf("find out who has given the process its rights: %w", err)
	}
	for _, e := range entries {
		if e[0] == atSecure {
			return e[1] != 0, nil
		}
	}
	return false, errors.New("find out who has given the process its rights: the auxiliary vector does not say")
}
