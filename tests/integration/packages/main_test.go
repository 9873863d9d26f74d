//go:build linux

package packages

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	table "github.com/project-receptor/receptor/tests/tools/packages"
	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// built are the packages of this tree, made once for all tests.
var built struct {
	dir      string // of everything here
	debs     string // folder of packages
	programs string // folder of programs that went into them
	repo     *workspace.Repo
}

// private is set in the process that has a mount namespace of its own.
const private = "RECEPTOR_TEST_MOUNTS"

func TestMain(m *testing.M) {
	flag.Parse()
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (int, error) {
	if testing.Short() {
		fmt.Println("tests of packages are skipped: -short is given")
		return 0, nil
	}
	if os.Geteuid() != 0 {
		fmt.Println("tests of packages are skipped: they need root, for hosts of their own")
		return 0, nil
	}
	for _, program := range []string{"dpkg", "systemd-sysusers", "setpriv", "chroot"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Println("tests of packages are skipped: they need the program", program)
			return 0, nil
		}
	}
	if os.Getenv(private) == "" {
		return again()
	}
	dir, err := os.MkdirTemp("", "receptor-packages")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := build(context.Background(), dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// again runs these tests in a mount namespace of their own: what they mount nobody
// else sees, and it is gone with them.
func again() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), private+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the child is to end with this process, not with a thread
	err = cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// build makes the packages as make packages does, for this machine alone.
func build(ctx context.Context, dir string) error {
	root, err := lab.Repository()
	if err != nil {
		return err
	}
	if built.repo, err = workspace.Open(root); err != nil {
		return err
	}
	built.dir, built.debs, built.programs = dir, filepath.Join(dir, "debs"), filepath.Join(dir, "programs", "linux-"+runtime.GOARCH)
	for _, c := range []struct {
		dir, env string
		args     []string
	}{
		{"tests/tools", "GOWORK=off", []string{"build", "-modfile=packages.mod", "-o", dir + "/", "tool"}},
		{"", "", []string{"run", "./tests/tools/cmd/modules", "programs", "-out", filepath.Dir(built.programs)}},
		{"", "", []string{"run", "./tests/tools/cmd/packages", "-nfpm", filepath.Join(dir, "nfpm"), "-programs", filepath.Dir(built.programs), "-out", built.debs, "-format", "deb,rpm"}},
	} {
		cmd := exec.CommandContext(ctx, "go", c.args...)
		cmd.Dir = filepath.Join(root, c.dir)
		if c.env != "" {
			cmd.Env = append(os.Environ(), c.env)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %v: %w\n%s", c.args, err, out)
		}
	}
	return nil
}

// deb is the file of a package.
func deb(t *testing.T, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(built.debs, name+"_*.deb"))
	if err != nil || len(files) != 1 {
		t.Fatalf("package %s: files %v, %v", name, files, err)
	}
	return files[0]
}

// version is that of the module of a package, without the v.
func version(p *table.Package) string {
	return built.repo.Module(workspace.Root + "/" + p.Module).Version[1:]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
