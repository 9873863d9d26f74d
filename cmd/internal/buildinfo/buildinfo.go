// Package buildinfo tells the version of the running program from what the Go
// toolchain recorded in it; no linker flags are needed.
package buildinfo

import "runtime/debug"

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
