package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Program is an installed program of ours.
type Program struct {
	Name string // without the directory, and without .exe
	Path string // absolute, links resolved
}

// coreName is the program that is the node itself.
const coreName = "receptor-core"

// plugName matches the programs that are plugs.
var plugName = regexp.MustCompile(`^receptor-(backend|proxy|worker|observe|command)-[a-z0-9][a-z0-9-]*$`)

// Dirs are the directories where programs are looked for, in order: that of
// the running program with links resolved, /usr/libexec/receptor, and PATH.
func Dirs() []string {
	var dirs []string
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			dirs = append(dirs, filepath.Dir(self))
		}
	}
	dirs = append(dirs, "/usr/libexec/receptor")
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) { // else whoever owns the working directory chose the program
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// findPlugs finds the installed plugs, sorted by name; of one name the first
// counts. Those that are not to be trusted are left out, with the reason.
func findPlugs(dirs []string) (found []Program, ignored map[string]error) {
	ignored = map[string]error{}
	seen := map[string]bool{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // not there, or not ours to see: nothing is installed in it
		}
		for _, e := range entries {
			name := programName(e.Name())
			if !plugName.MatchString(name) || seen[name] {
				continue
			}
			p, err := findProgram(dir, e.Name())
			if err != nil {
				ignored[name] = err
				continue
			}
			seen[name] = true
			delete(ignored, name)
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b Program) int { return strings.Compare(a.Name, b.Name) })
	return found, ignored
}

// findCore finds receptor-core.
func findCore(dirs []string) (Program, error) {
	file := coreName
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	var errs []error
	for _, dir := range dirs {
		p, err := findProgram(dir, file)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return Program{}, errors.Join(append(errs, fmt.Errorf("%s is not installed beside this program, in /usr/libexec/receptor or in PATH", coreName))...)
}

// findProgram checks that a file is a program that only root or we could have put there.
func findProgram(dir, file string) (Program, error) {
	path, err := filepath.EvalSymlinks(filepath.Join(dir, file))
	if err != nil {
		return Program{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Program{}, err
	}
	if err := trust(info); err != nil {
		return Program{}, fmt.Errorf("%s is ignored: %w", path, err)
	}
	return Program{Name: programName(file), Path: path}, nil
}

func programName(file string) string {
	if runtime.GOOS == "windows" {
		return strings.TrimSuffix(strings.ToLower(file), ".exe")
	}
	return file
}
