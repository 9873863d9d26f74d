package workercommand

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/cgroup"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// plan says how a unit is limited: by its cgroup as far as that can be, else by limits
// of the system for each of its processes. detail says so to people, missing what
// cannot be limited here.
func (l limits) plan(controllers []string) (group cgroup.Limits, rlimits []unit.RLimit, detail string, missing []string) {
	var byGroup, byRLimit []string
	inGroup := func(name string) bool {
		if !slices.Contains(controllers, name) {
			return false
		}
		byGroup = append(byGroup, name)
		return true
	}
	rlimit := func(name string, resource int, value int64) {
		byRLimit = append(byRLimit, name)
		rlimits = append(rlimits, unit.RLimit{Resource: resource, Value: uint64(value)}) //nolint:gosec // checked when it was read
	}
	if l.memory > 0 {
		if inGroup("memory") {
			group.Memory = l.memory
		} else {
			rlimit("memory", unix.RLIMIT_AS, l.memory)
		}
	}
	if l.pids > 0 {
		if inGroup("pids") {
			group.PIDs = l.pids
		} else {
			rlimit("pids", unix.RLIMIT_NPROC, l.pids)
		}
	}
	if l.cpu > 0 {
		if inGroup("cpu") {
			group.CPU = l.cpu
		} else {
			missing = append(missing, "cpu")
		}
	}
	if l.files > 0 {
		rlimit("files", unix.RLIMIT_NOFILE, l.files)
	}
	if l.filesize > 0 {
		rlimit("filesize", unix.RLIMIT_FSIZE, l.filesize)
	}
	if l.cputime > 0 {
		rlimit("cputime", unix.RLIMIT_CPU, int64((l.cputime+time.Second-1)/time.Second))
	}
	var parts []string
	for _, p := range []struct {
		how   string
		names []string
	}{{"by cgroup", byGroup}, {"by rlimit", byRLimit}, {"not applied", missing}} {
		if len(p.names) > 0 {
			parts = append(parts, p.how+": "+strings.Join(p.names, ", "))
		}
	}
	if len(parts) > 0 {
		detail = "limits " + strings.Join(parts, "; ")
	}
	return group, rlimits, detail, missing
}
