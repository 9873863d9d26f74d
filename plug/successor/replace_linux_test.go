package successor

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testPatience is that of the tests, far more than anything here takes.
const testPatience = time.Minute

// TestMain is also the program that is replaced, its successor, and the command that
// replaces.
func TestMain(m *testing.M) {
	args := os.Args[1:]
	if len(args) == 0 || args[0] != "serve" && args[0] != "replace" && args[0] != own[0] {
		os.Exit(m.Run())
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, Leave)
	switch args[0] {
	case "replace":
		pid, _ := strconv.Atoi(args[1])
		patience := testPatience
		if args[2] == "soon" {
			patience = 100 * time.Millisecond
		}
		next, err := replace(filepath.Base(os.Args[0]), pid, patience)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(next)
	case "serve": // the older one
		fmt.Println("serving")
		<-asked
	default:
		switch args[len(own)+1] {
		case "ends":
			os.Exit(2)
		case "silent":
		default:
			if err := Ready(readyFD, "alpha"); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		<-asked
	}
}

// older is a process that serves, and has a successor that does as how says.
func older(t *testing.T, how string) (p *os.Process, ended <-chan error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "serve", how)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = fmt.Fscanln(out, new(string))
	}
	if err != nil {
		t.Fatal(err)
	}
	end, waited := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(waited)
		end <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-waited
	})
	return cmd.Process, end
}

// replaced runs the command, and returns what it said.
func replaced(t *testing.T, pid int, patience string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "replace", strconv.Itoa(pid), patience)
	cmd.Env = append(os.Environ(), env...)
	// No pipe: its successor would have it as well, and is not waited for.
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	failed := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text)), failed
}

// The service manager is told of the successor, whose parent it is, and after that the
// older process leaves.
func TestReplace(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "successor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	p, ended := older(t, "takes over")
	said, err := replaced(t, p.Pid, "", "NOTIFY_SOCKET="+manager.LocalAddr().String(), "MAINPID="+strconv.Itoa(p.Pid))
	if err != nil {
		t.Fatal(said)
	}
	next, err := strconv.Atoi(said)
	if err != nil || next <= 1 {
		t.Fatalf("said %q: the number of no process that could be signalled", said)
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", next))
	if err != nil || bytes.Contains(env, []byte("MAINPID=")) {
		t.Errorf("environment %q, %v", env, err)
	}
	line, err := commandLine(next)
	if want := slices.Concat([]string{os.Args[0]}, own, []string{"serve", "takes over"}); err != nil || !slices.Equal(line, want) {
		t.Errorf("command line %q, %v", line, err)
	}
	b := make([]byte, 1000)
	n, err := manager.Read(b)
	if want := fmt.Sprintf("MAINPID=%d\nSTATUS=attached to node alpha", next); err != nil || string(b[:n]) != want {
		t.Errorf("told %q, %v, want %q", b[:n], err, want)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the older process: %v", err)
		}
	case <-time.After(testPatience):
		t.Error("the older process does not leave")
	}
	// Here is the parent of who asked, as systemd is of ExecReload=.
	child, err := os.FindProcess(next)
	if err == nil {
		err = child.Signal(Leave)
	}
	if err != nil {
		t.Fatal(err)
	}
	if status, err := child.Wait(); err != nil || !status.Success() {
		t.Errorf("the successor, our child: %v, %v", err, status)
	}
}

// Whatever becomes of a successor that has not taken over, the older process goes on,
// and the successor does not.
func TestReplaceFails(t *testing.T) {
	t.Parallel()
	for how, tc := range map[string]struct{ patience, want string }{
		"ends":   {"", "its successor has ended before it attached to a core"},
		"silent": {"soon", "its successor has attached to no core within 100ms"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, ended := older(t, how)
			said, err := replaced(t, p.Pid, tc.patience)
			if err == nil || said != tc.want {
				t.Errorf("said %q, %v, want %q", said, err, tc.want)
			}
			select {
			case err := <-ended:
				t.Errorf("the older process has ended: %v", err)
			default:
			}
			if pids := successors(t, how); len(pids) > 0 {
				t.Errorf("successors %v are left", pids)
			}
		})
	}
	if said, err := replaced(t, os.Getppid(), ""); err == nil || !strings.HasPrefix(said, "that is ") {
		t.Errorf("another program: %q, %v", said, err)
	}
	if said, err := replaced(t, 1<<30, ""); err == nil {
		t.Errorf("no process: %q", said)
	}
}

// successors are the processes that run as successors of such a process.
func successors(t *testing.T, how string) (pids []int) {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat([]string{os.Args[0]}, own, []string{"serve", how})
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			if line, err := commandLine(pid); err == nil && slices.Equal(line, want) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func TestArguments(t *testing.T) {
	t.Parallel()
	first := arguments([]string{"/bin/x", "--socket", "/s"})
	if want := []string{"/bin/x", "--takeover", "--ready-fd", "3", "--socket", "/s"}; !slices.Equal(first, want) {
		t.Errorf("%q", first)
	}
	if next := arguments(first); !slices.Equal(next, first) {
		t.Errorf("of a successor: %q", next)
	}
	if got := arguments([]string{"/bin/x"}); len(got) != 4 {
		t.Errorf("without options: %q", got)
	}
}

// Who is given no such descriptor says so.
func TestReadyWithoutDescriptor(t *testing.T) {
	t.Parallel()
	if err := Ready(1<<20, "alpha"); !errors.Is(err, syscall.EBADF) {
		t.Errorf("%v", err)
	}
}
