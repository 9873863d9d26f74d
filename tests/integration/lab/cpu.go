package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTick is the unit of CPU time in /proc, 1/100 s on every Linux.
const clockTick = 0.01

// CPUSeconds is the user and system time that a process has had, from /proc.
func CPUSeconds(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command may hold blanks; the fields start behind its parenthesis, with number 3.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("CPU time of process %d: %q", pid, data)
	}
	var ticks int64
	for _, f := range []string{fields[utime], fields[stime]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return float64(ticks) * clockTick, nil
}
