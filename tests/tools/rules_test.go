package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath   string
	Name         string
	Doc          string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	GoFiles      []string
	Module       struct{ Path string }
}

// rel is the import path below our root, "netceptor/internal/wire".
func (p *goPackage) rel() string {
	return strings.TrimPrefix(p.ImportPath, workspace.Root+"/")
}

func open(t *testing.T) *workspace.Repo {
	t.Helper()
	r, err := workspace.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func listPackages(t *testing.T, r *workspace.Repo) []*goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", "work")
	cmd.Dir = r.Dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []*goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(goPackage)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list named no package")
	}
	return pkgs
}

// under tells whether an import path is pkg or below it.
func under(path, pkg string) bool { return path == pkg || strings.HasPrefix(path, pkg+"/") }

// mayImport says which of our packages the packages below a place may import,
// tests included. The longest matching place counts.
var mayImport = []struct {
	in  string
	may []string
	why string
}{
	{"plug", []string{"plug"}, "the plug contract stands below everything: a plug author gets nothing else of ours with it"},
	{"netceptor", []string{"netceptor"}, "the mesh is a library without plugs; netceptor/plughost joins the two"},
	{"netceptor/plughost", []string{"netceptor", "plug"}, "the mesh knows no backend, proxy or command"},
	{"backend-tcp", []string{"backend-tcp", "plug"}, "a backend sees its medium and the plug contract only, so that it can be upgraded apart"},
	{"backend-udp", []string{"backend-udp", "plug"}, "a backend sees its medium and the plug contract only, so that it can be upgraded apart"},
	{"backend-ws", []string{"backend-ws", "plug", "netceptor/mtls"}, "as backend-tcp; and TLS lies below HTTP there, so it speaks TLS itself, by the core's profiles"},
	{"proxy-udp", []string{"proxy-udp", "plug"}, "a proxy sees its medium and the plug contract only, so that it can be upgraded apart"},
	{"proxy-tun", []string{"proxy-tun", "plug"}, "a proxy sees its medium and the plug contract only, so that it can be upgraded apart"},
	{"proxy-tcp", []string{"proxy-tcp", "plug"}, "a proxy sees its medium and the plug contract only, so that it can be upgraded apart"},
	{"worker-command", []string{"worker-command", "plug"}, "a worker sees what it runs and the plug contract only, so that it can be upgraded apart"},
	{"command-service", []string{"command-service", "plug"}, "it sees its terminals and the plug contract only, so that it can be upgraded apart"},
	{"workceptor", []string{"workceptor", "plug"}, "units of work are a library without a mesh: it names the few calls that it needs, and cmd joins them; workers come as plugs"},
	{"cmd", []string{"cmd", "netceptor", "plug", "workceptor"}, "the core and the launcher have no backend and no proxy in them: those are programs of their own"},
	{"example", []string{"example", "backend-tcp", "backend-udp", "backend-ws", "proxy-tcp", "netceptor", "plug", "workceptor"}, "an example is built of what users have"},
	{"tests", []string{""}, ""},
	{"tests/legacy", []string{"tests/legacy"}, "the model of an existing node is written from the description alone: what it shared with us, it could not check"},
}

func TestImportsBetweenModules(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t, open(t)) {
		rule := -1
		for i, r := range mayImport {
			if under(p.rel(), r.in) && (rule < 0 || len(r.in) > len(mayImport[rule].in)) {
				rule = i
			}
		}
		if rule < 0 {
			t.Errorf("%s: no rule says what it may import", p.rel())
			continue
		}
		r := mayImport[rule]
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			rel, ours := strings.CutPrefix(i, workspace.Root+"/")
			if ours && !slices.ContainsFunc(r.may, func(m string) bool { return m == "" || under(rel, m) }) {
				t.Errorf("%s imports %s: %s", p.rel(), rel, r.why)
			}
		}
	}
}

// libraries: who may import them, and nobody else.
var libraries = []struct {
	path string
	only []string
	why  string
}{
	{"github.com/quic-go/quic-go", []string{"netceptor/internal/streams", "tests/integration", "tests/legacy"}, "its API moves often: one package holds it behind our own seam"},
	{"github.com/spf13/cobra", []string{"cmd"}, "command lines live in command packages"},
	{"go.yaml.in/yaml/v2", []string{"cmd/internal/config"}, "configuration files are read in one place"},
	{"github.com/minio/highwayhash", []string{"netceptor/internal/wire", "tests/legacy"}, "a node's hash is made in one place"},
	{"github.com/gorilla/websocket", []string{"backend-ws", "tests/legacy", "tests/integration"}, "a medium is a backend's business"},
	{"github.com/creack/pty", []string{"command-service", "tests/integration"}, "terminals are one plug's business"},
	{"github.com/songgao/water", []string{"proxy-tun/internal/host"}, "who touches the network of the host is one package"},
	{"github.com/vishvananda/netlink", []string{"proxy-tun/internal/host"}, "who touches the network of the host is one package"},
	{"github.com/gaissmai/bart", []string{"proxy-tun"}, "the mesh has no networks of IP in it"},
	{"os/exec", []string{"cmd/internal/launcher", "cmd/receptor", "plug/cmd", "tests"}, "the core and its plugs execute nothing; a hop node has no code that can run a job"},
	{workspace.Root + "/plug/successor", []string{"plug/plugcmd"}, "a plug's program alone starts itself again, and the core has no such code"},
	{"log", nil, "logging is injected (hclog)"},
	{"flag", []string{"plug/plugcmd", "plug/cmd", "cmd", "example", "tests"}, "flags live in command packages"},
}

func TestImportsOfLibraries(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t, open(t)) {
		for _, l := range libraries {
			if slices.ContainsFunc(l.only, func(o string) bool { return under(p.rel(), o) }) {
				continue
			}
			for _, i := range p.Imports {
				if i == l.path || strings.Contains(l.path, ".") && under(i, l.path) {
					t.Errorf("%s imports %s, which only %v may: %s", p.rel(), i, l.only, l.why)
				}
			}
		}
	}
}

// starters are the packages that may start processes without os/exec.
var starters = []string{
	"plug/successor", "proxy-tun/internal/privilege", "command-service/internal/watch",
	"worker-command/internal/ledger", "worker-command/internal/supervisor",
}

// A process can be started by other means than os/exec, of which libraries says who may.
func TestStartersOfProcesses(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, p := range listPackages(t, open(t)) {
		inspect(t, p, p.GoFiles, func(fset *token.FileSet, n ast.Node) {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"StartProcess", "ForkExec", "Exec"}, s.Sel.Name) {
				return
			}
			if x, ok := s.X.(*ast.Ident); !ok || !slices.Contains([]string{"os", "syscall", "unix"}, x.Name) {
				return
			}
			found[p.rel()] = true
			if !slices.Contains(starters, p.rel()) && !under(p.rel(), "tests") {
				t.Errorf("%s: a process is started: only %v may", fset.Position(n.Pos()), starters)
			}
		})
	}
	for _, s := range starters {
		if !found[s] {
			t.Errorf("%s starts no process: take it from the list", s)
		}
	}
}

// pure are the packages of codecs and machines: no socket, file, clock,
// goroutine, global random source or logger, so that a test, a fuzzer or a
// simulation can drive them.
var pure = []string{
	"plug/wire", "plug/terminal",
	"netceptor/internal/wire", "netceptor/internal/linkproto", "netceptor/internal/route", "netceptor/internal/advert", "netceptor/internal/firewall",
	"workceptor/internal/state", "proxy-tun/internal/packet",
}

func TestPurity(t *testing.T) {
	t.Parallel()
	banned := []string{"net", "os", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "github.com/hashicorp/go-hclog"}
	clock := []string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"}
	for _, p := range listPackages(t, open(t)) {
		if !slices.Contains(pure, p.rel()) {
			continue
		}
		for _, i := range p.Imports {
			if slices.Contains(banned, i) {
				t.Errorf("%s imports %s: it is a pure package", p.rel(), i)
			}
		}
		inspect(t, p, p.GoFiles, func(fset *token.FileSet, n ast.Node) {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: goroutine in a pure package", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					t.Errorf("%s: time.%s in a pure package", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
		})
	}
}

func TestExitOnlyInCommands(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t, open(t)) {
		if p.Name == "main" {
			continue
		}
		inspect(t, p, p.GoFiles, func(fset *token.FileSet, n ast.Node) {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "os" && s.Sel.Name == "Exit" {
					t.Errorf("%s: os.Exit in a library: return an error", fset.Position(n.Pos()))
				}
			}
		})
	}
}

// A test that sleeps and then expects something is slow on a quiet machine and
// fails on a busy one. It may pause between looks at a condition, in a loop. In a
// synctest bubble a sleep takes no time and is exact.
func TestNoSleepInTests(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t, open(t)) {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(src), `"testing/synctest"`) {
				continue
			}
			type span struct{ from, to token.Pos }
			var loops []span
			inspect(t, p, []string{filepath.Base(f)}, func(fset *token.FileSet, n ast.Node) {
				switch n := n.(type) {
				case *ast.ForStmt:
					loops = append(loops, span{n.Pos(), n.End()})
				case *ast.SelectorExpr:
					x, ok := n.X.(*ast.Ident)
					if !ok || x.Name != "time" || n.Sel.Name != "Sleep" {
						return
					}
					if !slices.ContainsFunc(loops, func(s span) bool { return s.from < n.Pos() && n.Pos() < s.to }) {
						t.Errorf("%s: time.Sleep in a test: wait for the condition", fset.Position(n.Pos()))
					}
				}
			})
		}
	}
}

// The race detector allocates, so what must not is tested apart from it: make
// test-allocs runs the tests whose names say Allocs, and no others.
func TestAllocTestsAreNamed(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t, open(t)) {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			files[i] = filepath.Base(f)
		}
		var test string // the function that is looked at
		inspect(t, p, files, func(fset *token.FileSet, n ast.Node) {
			switch n := n.(type) {
			case *ast.FuncDecl:
				test = n.Name.Name
			case *ast.SelectorExpr:
				if n.Sel.Name == "AllocsPerRun" && !strings.Contains(test, "Allocs") {
					t.Errorf("%s: %s counts allocations: its name has to say Allocs", fset.Position(n.Pos()), test)
				}
			}
		})
	}
}

func inspect(t *testing.T, p *goPackage, files []string, f func(*token.FileSet, ast.Node)) {
	t.Helper()
	fset := token.NewFileSet()
	for _, name := range files {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				f(fset, n)
			}
			return true
		})
	}
}

func TestPackageDocs(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t, open(t)) {
		if strings.TrimSpace(p.Doc) == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: a reader starts there", p.rel())
		}
	}
}

func TestModuleFiles(t *testing.T) {
	t.Parallel()
	r := open(t)
	if len(r.Modules) < 5 {
		t.Fatalf("go.work names %d modules only", len(r.Modules))
	}
	for _, m := range r.Modules {
		if len(m.Mod.Replace) > 0 || len(m.Mod.Exclude) > 0 {
			t.Errorf("%s/go.mod has replace or exclude: go install of a tag would be refused; go.work holds them", m.Dir)
		}
		if m.Mod.Go.Version != r.Work.Go.Version {
			t.Errorf("%s/go.mod says go %s, go.work %s: they are raised together", m.Dir, m.Mod.Go.Version, r.Work.Go.Version)
		}
		if m.Path != workspace.Root+"/"+m.Dir {
			t.Errorf("%s/go.mod names module %s", m.Dir, m.Path)
		}
		if !m.Released() {
			continue
		}
		for _, f := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
			if s, err := os.Stat(r.File(m.Dir, f)); err != nil || s.Size() == 0 {
				t.Errorf("%s has no %s: a module is published on its own", m.Dir, f)
			}
		}
		for _, q := range r.Siblings(m) {
			if !r.Module(q.Mod.Path).Released() {
				t.Errorf("%s requires %s, which is never released", m.Dir, q.Mod.Path)
			}
		}
		if !slices.ContainsFunc(r.Work.Replace, func(p *modfile.Replace) bool {
			return p.Old.Path == m.Path && p.Old.Version == m.Version && filepath.Clean(p.New.Path) == m.Dir
		}) {
			t.Errorf("go.work has no \"replace %s %s => ./%s\"", m.Path, m.Version, m.Dir)
		}
	}
}

func TestThirdPartyVersionsAreEqual(t *testing.T) {
	t.Parallel()
	type use struct{ dir, version string }
	first := map[string]use{}
	for _, m := range open(t).Modules {
		for _, q := range m.Mod.Require {
			if under(q.Mod.Path, workspace.Root) {
				continue
			}
			f, ok := first[q.Mod.Path]
			if !ok {
				first[q.Mod.Path] = use{m.Dir, q.Mod.Version}
			} else if f.version != q.Mod.Version {
				t.Errorf("%s: %s in %s, %s in %s: the workspace would test another than one of them ships",
					q.Mod.Path, f.version, f.dir, q.Mod.Version, m.Dir)
			}
		}
	}
}

func TestDependenciesAreListed(t *testing.T) {
	t.Parallel()
	r := open(t)
	doc, err := os.ReadFile(r.File("docs", "DEPENDENCIES.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Modules {
		for _, q := range m.Mod.Require {
			if q.Indirect || under(q.Mod.Path, workspace.Root) {
				continue
			}
			if !strings.Contains(string(doc), "`"+q.Mod.Path+"`") {
				t.Errorf("%s requires %s, which docs/DEPENDENCIES.md does not give a reason for", m.Dir, q.Mod.Path)
			}
		}
	}
}

// A plug's README is its manual page.
func TestPlugReadmes(t *testing.T) {
	t.Parallel()
	r := open(t)
	plug := regexp.MustCompile(`^(backend|proxy|worker|command)-`)
	n := 0
	for _, m := range r.Modules {
		if !plug.MatchString(m.Dir) {
			continue
		}
		n++
		text, err := os.ReadFile(r.File(m.Dir, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "ITEMS", "OPTIONS", "EXIT STATUS", "SEE ALSO"} {
			if !regexp.MustCompile(`(?m)^## ` + section).Match(text) {
				t.Errorf("%s/README.md has no section %q", m.Dir, fmt.Sprintf("## %s", section))
			}
		}
	}
	if n == 0 {
		t.Error("no plug module found")
	}
}
