package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/plug/program"
)

// somebody is a user that every system has, and that owns nothing.
const somebody = "nobody"

func needRoot(t *testing.T) *program.User {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, who alone runs programs as others")
	}
	u, err := program.Identify(somebody, "")
	if err != nil {
		t.Skip("skipped: needs the user ", somebody, ": ", err)
	}
	return u
}

// installOpen is install, for others than root to run.
func installOpen(t *testing.T, names ...string) string {
	t.Helper()
	dir := install(t, names...)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is for others
		t.Fatal(err)
	}
	return dir
}

// Where root runs the launcher, core and plugs are the user that it is told, whenever
// they are started, and a launcher that comes later knows them.
func TestNodeOfAnotherUser(t *testing.T) {
	t.Parallel()
	u := needRoot(t)
	n := startNode(t, installOpen(t, "receptor", "receptor-core", "receptor-backend-fake"), "--user", somebody, "--fake-peer", "h:1")
	check := func(s state) {
		t.Helper()
		want := fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\nGid:\t%d\t%[2]d\t%[2]d\t%[2]d\n", u.UID, u.GID)
		for _, pid := range []int{s.core, s.Plugs[0].PID} {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil || !strings.Contains(string(status), want) {
				t.Errorf("process %d is not user %s: %v\n%s", pid, somebody, err, status)
			}
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if err != nil || !strings.Contains("\x00"+string(env), "\x00HOME="+u.Home+"\x00") || !strings.Contains(string(env), "\x00STATE_DIRECTORY=") {
				t.Errorf("process %d has the environment %q, %v", pid, env, err)
			}
		}
	}
	first := n.until("up", up)
	check(first)
	for path, want := range map[string]os.FileMode{"run": 0o750, "state": 0o700, "state/n": 0o700} {
		i, err := os.Stat(filepath.Join(n.dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if owner := i.Sys().(*syscall.Stat_t).Uid; owner != u.UID || i.Mode().Perm() != want {
			t.Errorf("directory %s has mode %o and is user %d's", path, i.Mode().Perm(), owner)
		}
	}
	kill(t, first.Plugs[0].PID, syscall.SIGKILL)
	kill(t, first.core, syscall.SIGKILL)
	second := n.until("up after both were killed", func(s state) bool {
		return up(s) && s.core != first.core && s.Plugs[0].PID != first.Plugs[0].PID
	})
	check(second)

	third := n.orphan()
	defer n.end()
	mine := n.args
	n.args = append(n.args[:len(n.args):len(n.args)], "--user", "root")
	if status := wait(t, n.launch()); status != statusUsage {
		t.Errorf("as another user: exit status %d, want %d", status, statusUsage)
	}
	n.wantLog(fmt.Sprintf("node n is already running here (core pid %d), as user %d, and is to run as user 0", third.core, u.UID))
	n.args = mine
	n.adopt(third.core)
	n.stop()
	gone(t, third.core)
	gone(t, third.Plugs[0].PID)
}

// What is tried with the rights of a user leaves none of the process's threads the user's.
func TestTry(t *testing.T) {
	u := needRoot(t)
	as := &identity{u, somebody}
	for range 100 {
		var tid int
		if err := as.try(func() error {
			tid = unix.Gettid()
			status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
			if err == nil && !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t", u.UID)) {
				err = fmt.Errorf("tried as somebody else: %s", status)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(settle); ; {
			_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("the thread is still there: %v", err)
			}
			time.Sleep(time.Millisecond) // between looks
		}
	}
}

// What the user may not is told before anything is started, with what to do.
func TestWhatIsRootsAlone(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := installOpen(t, "receptor-core", "receptor-backend-fake")
	key, public := filepath.Join(dir, "key"), filepath.Join(dir, "roots")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(public, "n"), 0o755); err != nil { //nolint:gosec // for others to read, not to write
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(public, "n", "epoch"), nil, 0o600); err != nil { // one that is empty would be replaced
		t.Fatal(err)
	}
	closed := install(t, "receptor-core", "receptor-backend-fake")
	node := func(data string, more ...string) []string {
		return append([]string{"--user", somebody, "--node", "id=n", "datadir=" + data, "--socket", dir + "/run/plug.sock"}, more...)
	}
	state := filepath.Join(dir, "state")
	for _, tt := range []struct {
		name, dir string
		args      []string
		want      string
	}{
		{"a key", dir, node(state, "--tls-client", "name=x", "cert="+key, "key="+key), "user nobody, whom core and plugs run as, cannot read " + key + " (permission denied)"},
		{"a place for a socket", dir, node(state, "--control-service", "filename="+public+"/sock"), "cannot write " + public + " (permission denied)"},
		{"a place for state", dir, node(public), "cannot write " + public + "/n (permission denied)"},
		{"programs", closed, node(state, "--fake-peer", "h:1"), "cannot execute " + closed + "/receptor-backend-fake (permission denied)"},
		{"the core", closed, node(state), "cannot execute " + closed + "/receptor-core (permission denied)"},
		{"a user that is not there", dir, node(state, "--user", "no-such-user"), "--user no-such-user: user: user: unknown user no-such-user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status, _, stderr := output(t, []string{tt.dir}, tt.args...)
			if status != statusUsage || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit status %d, want %d, and %q in\n%s", status, statusUsage, tt.want, stderr)
			}
		})
	}
}
