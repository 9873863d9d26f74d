package tools

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// Every limit in docs/limits.md is what its constant says, and every counter in it
// is one of the code's.
func TestLimitsAreAsDocumented(t *testing.T) {
	repo := open(t)
	text, err := os.ReadFile(repo.File("docs", "limits.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := newConstants(t, repo)
	row := regexp.MustCompile("(?m)^\\| [^|]+ \\| ([^|]+) \\| (`[^`]+`|-) \\| [^|]+ \\| ([^|]+) \\|$")
	counter := regexp.MustCompile("`([^`]+)`")
	rows := row.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 40 {
		t.Fatalf("only %d rows could be read", len(rows))
	}
	for _, r := range rows {
		limit, name := r[1], strings.Trim(r[2], "`")
		if name != "-" {
			if got, want := code.value(t, name), quantity(t, limit); got != want {
				t.Errorf("docs/limits.md says %s for %s, which is %v", limit, name, got)
			}
		}
		for _, c := range counter.FindAllStringSubmatch(r[3], -1) {
			if c[1] != "frames_dropped" && !strings.Contains(code.source, strconv.Quote(c[1])) {
				t.Errorf("docs/limits.md names the counter %s, which is nowhere in the code", c[1])
			}
		}
	}
}

// quantity reads "256 KiB", "10 s", "1,000 /s" or "1e9": bytes, nanoseconds, or
// just a number.
func quantity(t *testing.T, s string) float64 {
	t.Helper()
	number, unit, _ := strings.Cut(strings.ReplaceAll(s, ",", ""), " ")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Errorf("docs/limits.md has the limit %q: %v", s, err)
	}
	factor, ok := map[string]float64{
		"": 1, "B": 1, "/s": 1, "KiB": 1 << 10, "MiB": 1 << 20,
		"s": float64(time.Second), "min": float64(time.Minute), "h": float64(time.Hour),
	}[unit]
	if !ok {
		t.Errorf("docs/limits.md has the limit %q in an unknown unit", s)
	}
	return n * factor
}

// constants evaluates constants of the core and the SDK, without a build.
type constants struct {
	repo   *workspace.Repo
	files  *token.FileSet
	dirs   map[string][]string // of packages, by the name of their directory
	known  map[string]*types.Package
	source string // all of it
}

func newConstants(t *testing.T, repo *workspace.Repo) *constants {
	t.Helper()
	c := &constants{repo: repo, files: token.NewFileSet(), dirs: map[string][]string{}, known: map[string]*types.Package{}}
	const durations = "package time; type Duration int64; const (Nanosecond Duration = 1; Microsecond = 1000 * Nanosecond; " +
		"Millisecond = 1000 * Microsecond; Second = 1000 * Millisecond; Minute = 60 * Second; Hour = 60 * Minute)"
	file, err := parser.ParseFile(c.files, "time.go", durations, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.known["time"], err = new(types.Config).Check("time", c.files, []*ast.File{file}, nil); err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"netceptor", "plug", "workceptor", "worker-command", "command-service", "cmd", "backend-udp", "backend-ws", "proxy-udp", "proxy-tun"} {
		err := filepath.WalkDir(repo.File(module), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				c.dirs[d.Name()] = append(c.dirs[d.Name()], name)
			} else if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				text, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				c.source += string(text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// value is that of a constant such as route.MaxOrigins, of the only package of
// that name that has it.
func (c *constants) value(t *testing.T, name string) float64 {
	t.Helper()
	pkg, constName, _ := strings.Cut(name, ".")
	for _, dir := range c.dirs[pkg] {
		p, err := c.check(dir)
		if err != nil {
			t.Fatal(err)
		}
		if found, ok := p.Scope().Lookup(constName).(*types.Const); ok {
			v, _ := constant.Float64Val(constant.ToFloat(found.Val()))
			return v
		}
	}
	t.Errorf("docs/limits.md names the constant %s, which is nowhere", name)
	return 0
}

// Import implements types.Importer: our own packages are read, others are empty.
func (c *constants) Import(name string) (*types.Package, error) {
	if p := c.known[name]; p != nil {
		return p, nil
	}
	if rel, ok := strings.CutPrefix(name, workspace.Root+"/"); ok {
		return c.check(c.repo.File(filepath.FromSlash(rel)))
	}
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	c.known[name] = p
	return p, nil
}

// check reads the package in a directory as far as that can be done: what its
// constants are made of is all that counts.
func (c *constants) check(dir string) (*types.Package, error) {
	if p := c.known[dir]; p != nil {
		return p, nil
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(c.files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		files = append(files, file)
	}
	incomplete := types.Config{Importer: c, Error: func(error) {}, IgnoreFuncBodies: true}
	p, _ := incomplete.Check(dir, c.files, files, nil) // with errors: most imports are empty
	c.known[dir] = p
	return p, nil
}
