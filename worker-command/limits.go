package workercommand

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// limits are those of a unit; 0: none.
type limits struct {
	memory   int64   // bytes
	cpu      float64 // processors
	pids     int64
	files    int64
	filesize int64 // bytes
	cputime  time.Duration
}

// parseLimits reads the parameter limits.
func parseLimits(given map[string]any) (l limits, err error) {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		text := strings.TrimSpace(fmt.Sprint(given[name]))
		switch name {
		case "memory":
			l.memory, err = parseSize(text)
		case "filesize":
			l.filesize, err = parseSize(text)
		case "pids":
			l.pids, err = parseCount(text)
		case "files":
			l.files, err = parseCount(text)
		case "cpu":
			if l.cpu, err = strconv.ParseFloat(text, 64); err != nil || !(l.cpu > 0 && l.cpu <= maxCPU) {
				err = fmt.Errorf("expected a number of processors, such as 0.5, got %q", text)
			}
		case "cputime":
			if l.cputime, err = time.ParseDuration(text); err != nil || l.cputime < time.Second {
				err = fmt.Errorf("expected a time of 1s or more, such as 10m, got %q", text)
			}
		default:
			return l, fmt.Errorf("limits.%.40s: expected one of memory, cpu, pids, files, filesize, cputime", name)
		}
		if err != nil {
			return l, fmt.Errorf("limits.%s: %w", name, err)
		}
	}
	return l, nil
}

// maxCPU is more processors than there are in a machine.
const maxCPU = 1 << 16

// parseSize reads a number of bytes, with K, M, G or T for powers of 1024.
func parseSize(text string) (int64, error) {
	number, factor := text, int64(1)
	if i := strings.IndexAny(text, "KMGT"); i >= 0 && i == len(text)-1 {
		number, factor = text[:i], 1<<(10*(1+strings.IndexByte("KMGT", text[i])))
	}
	f, err := strconv.ParseFloat(number, 64)
	if size := f * float64(factor); err == nil && size >= 1 && size < math.MaxInt64 {
		return int64(size), nil
	}
	return 0, fmt.Errorf("expected a size, such as 512M, got %q", text)
}

func parseCount(text string) (int64, error) {
	f, err := strconv.ParseFloat(text, 64) // JSON's numbers come as such
	if err != nil || f < 1 || f > math.MaxInt32 || f != math.Trunc(f) {
		return 0, fmt.Errorf("expected a number above 0, got %q", text)
	}
	return int64(f), nil
}
