// Package buildinfo tells the version of the running program from what the Go
// toolchain recorded in it; no linker flags are needed.
package buildinfo

import (
	"fmt"
	"runtime/debug"
)

// Line is what a program answers to --version: itself, its version and its module.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s)\n", program, Version(), Module())
}

// Module is the path of the program's module.
func Module() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown module"
	}
	return info.Main.Path
}

// Version is the version of the program's module: a tag of it, or "(devel)"
// with the commit where one was recorded.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
