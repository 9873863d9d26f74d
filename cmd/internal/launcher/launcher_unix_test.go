//go:build unix

package launcher

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug/socket"
)

// settle is ten times what anything here takes on a busy machine.
const settle = 60 * time.Second

// testNode is a node that a launcher runs as a process of its own.
type testNode struct {
	t    *testing.T
	dir  string
	args []string
	cmd  *exec.Cmd
	log  string // path
}

func startNode(t *testing.T, dir string, args ...string) *testNode {
	t.Helper()
	n := &testNode{t: t, dir: dir, log: filepath.Join(t.TempDir(), "log")}
	n.args = append([]string{"--node", "id=n", "datadir=" + filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "run", "plug.sock")}, args...)
	n.cmd = n.launch()
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(n.log)
			t.Logf("log:\n%s", b)
		}
	})
	return n
}

// launch starts a launcher for the node.
func (n *testNode) launch() *exec.Cmd {
	n.t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd := receptor(n.dir, n.args...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// state is what the node says about itself.
type state struct {
	Epoch json.Number           `json:"epoch"`
	Items []plughost.ItemStatus `json:"items"`
	Plugs []plughost.PlugStatus `json:"plugs"`
	core  int                   // pid
	guard int                   // pid of the launcher that is attached; 0: none
}

func (n *testNode) state() (state, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), settle)
	defer cancel()
	conn, err := socket.Dial(ctx, filepath.Join(n.dir, "run", "control.sock"))
	if err != nil {
		return state{}, err
	}
	defer conn.Close()
	cred, err := socket.PeerCred(conn)
	if err != nil {
		return state{}, err
	}
	if err := conn.SetDeadline(time.Now().Add(settle)); err != nil {
		return state{}, err
	}
	fmt.Fprintln(conn, `{"v":1,"id":1,"command":"status"}`)
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		return state{}, err
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return state{}, err
	}
	var answer struct{ Result state }
	if err := json.Unmarshal([]byte(line), &answer); err != nil {
		return state{}, err
	}
	result := answer.Result
	result.core = cred.PID
	result.Plugs = slices.DeleteFunc(result.Plugs, func(p plughost.PlugStatus) bool {
		if p.Name != observerName {
			return false
		}
		result.guard = p.PID
		return true
	})
	return result, nil
}

// until waits for a state of the node and returns it.
func (n *testNode) until(what string, is func(state) bool) state {
	n.t.Helper()
	for deadline := time.Now().Add(settle); ; {
		s, err := n.state()
		if err == nil && is(s) {
			return s
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not in time: %s; last state %+v, %v", what, s, err)
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
}

func up(s state) bool { return len(s.Items) == 1 && s.Items[0].State == "up" && len(s.Plugs) == 1 }

// wait waits for a launcher to end and returns its exit status.
func wait(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode()
	case <-time.After(settle):
		t.Fatal("the launcher does not end")
		return 0
	}
}

func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("no pid: %d", pid)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

// gone waits until a process is no more.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(settle); syscall.Kill(pid, 0) == nil; {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
}

func TestLauncherKeepsTheNodeRunning(t *testing.T) {
	t.Parallel()
	dir := install(t, "receptor", "receptor-core", "receptor-backend-fake", "receptor-proxy-garbage")
	n := startNode(t, dir, "--fake-peer", "h:1")
	first := n.until("up", up)

	kill(t, first.Plugs[0].PID, syscall.SIGKILL)
	second := n.until("up after the plug was killed", func(s state) bool { return up(s) && s.Plugs[0].PID != first.Plugs[0].PID })
	if second.core != first.core {
		t.Error("the core was started anew for a plug")
	}

	kill(t, second.core, syscall.SIGKILL)
	third := n.until("up after the core was killed", func(s state) bool { return up(s) && s.core != second.core })
	if third.Plugs[0].PID != second.Plugs[0].PID {
		t.Error("the plug was started anew for the core")
	}
	if third.Epoch == second.Epoch {
		t.Error("the epoch is the same")
	}

	n.until("watched again", func(s state) bool { return s.guard == n.cmd.Process.Pid })
	other := n.launch()
	if status := wait(t, other); status != statusUsage {
		t.Errorf("a second launcher: exit status %d, want %d", status, statusUsage)
	}
	want := "node n is already running here"
	if canHold {
		want += fmt.Sprintf(", and lets no launcher in: a plug named launcher is attached: pid %d\n", n.cmd.Process.Pid)
	}
	n.wantLog(want)
	n.until("still up", up)

	n.stop()
	gone(t, third.core)
	gone(t, third.Plugs[0].PID)
	left, err := filepath.Glob(filepath.Join(dir, "run", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// wantLog waits for a text in the log.
func (n *testNode) wantLog(text string) {
	n.t.Helper()
	for deadline := time.Now().Add(settle); ; {
		log, err := os.ReadFile(n.log)
		if err != nil {
			n.t.Fatal(err)
		}
		if strings.Contains(string(log), text) {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("%q is not in\n%s", text, log)
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
}

// adopt starts a launcher, and waits until it has found the node.
func (n *testNode) adopt(core int) {
	n.t.Helper()
	n.cmd = n.launch()
	n.wantLog(fmt.Sprintf("node runs already; attached to it: node=n pid=%d", core))
}

// orphan kills the launcher of a node that is up, and nothing else.
func (n *testNode) orphan() state {
	n.t.Helper()
	n.until("up and watched", func(s state) bool { return up(s) && (s.guard != 0 || !canHold) })
	kill(n.t, n.cmd.Process.Pid, syscall.SIGKILL)
	wait(n.t, n.cmd)
	return n.until("without launcher", func(s state) bool { return s.guard == 0 })
}

// startOrphan starts a node and kills its launcher.
func startOrphan(t *testing.T) (*testNode, state) {
	t.Helper()
	if !canHold {
		t.Skip("skipped: this system cannot hold processes that are no children")
	}
	n := startNode(t, install(t, "receptor", "receptor-core", "receptor-backend-fake"), "--fake-peer", "h:1")
	return n, n.orphan()
}

// stop ends the launcher in order.
func (n *testNode) stop() {
	n.t.Helper()
	kill(n.t, n.cmd.Process.Pid, syscall.SIGTERM)
	if status := wait(n.t, n.cmd); status != statusOK {
		n.t.Errorf("exit status %d", status)
	}
}

// end ends what is left of the node, if no launcher has.
func (n *testNode) end() {
	s, err := n.state()
	if err != nil {
		return // its core has ended, and nothing else is there
	}
	for _, p := range s.Plugs {
		kill(n.t, p.PID, syscall.SIGTERM)
		gone(n.t, p.PID)
	}
	kill(n.t, s.core, syscall.SIGTERM)
	gone(n.t, s.core)
}

// A launcher that was killed leaves its node at work, and the next one takes it
// over as if it had never been away.
func TestNextLauncherFindsItsNode(t *testing.T) {
	t.Parallel()
	n, first := startOrphan(t)
	defer n.end()
	n.adopt(first.core)
	found := n.until("watched", func(s state) bool { return up(s) && s.guard == n.cmd.Process.Pid })
	if found.core != first.core || found.Plugs[0].PID != first.Plugs[0].PID {
		t.Errorf("was %+v, is %+v", first, found)
	}

	kill(t, found.Plugs[0].PID, syscall.SIGKILL)
	second := n.until("up after the plug was killed", func(s state) bool { return up(s) && s.Plugs[0].PID != found.Plugs[0].PID })
	kill(t, second.core, syscall.SIGKILL)
	third := n.until("up and watched after the core was killed", func(s state) bool {
		return up(s) && s.core != second.core && s.guard == n.cmd.Process.Pid
	})
	if third.Plugs[0].PID != second.Plugs[0].PID {
		t.Error("the plug was started anew for the core")
	}

	fourth := n.orphan()
	n.adopt(fourth.core)
	n.stop()
	gone(t, fourth.core)
	gone(t, fourth.Plugs[0].PID)
}

// A plug that has died as well, while nobody looked, is started; those that are
// there are not.
func TestNextLauncherStartsWhatIsMissing(t *testing.T) {
	t.Parallel()
	n, s := startOrphan(t)
	defer n.end()
	kill(t, s.Plugs[0].PID, syscall.SIGKILL)
	n.until("without plug", func(s state) bool { return len(s.Plugs) == 0 })
	n.adopt(s.core)
	if now := n.until("up", up); now.core != s.core {
		t.Error("the core was started anew")
	}
	n.stop()
	gone(t, s.core)
}

// A launcher that wants another node, or other items, leaves what runs alone.
func TestNextLauncherWantsSomethingElse(t *testing.T) {
	t.Parallel()
	n, s := startOrphan(t)
	defer n.end()
	for _, other := range []struct {
		name, id, peer, want string
	}{
		{"other items", "n", "h:2", fmt.Sprintf("node n is already running here (core pid %d), with other items: stop it first\n", s.core)},
		{"other node", "m", "h:1", fmt.Sprintf("node n is already running here (core pid %d): its socket %s is not free for node m\n", s.core, filepath.Join(n.dir, "run", "plug.sock"))},
	} {
		n.args[1] = "id=" + other.id
		n.args[len(n.args)-1] = other.peer
		if status := wait(t, n.launch()); status != statusUsage {
			t.Errorf("%s: exit status %d, want %d", other.name, status, statusUsage)
		}
		n.wantLog(other.want)
	}
	if now := n.until("still up", up); now.core != s.core || now.Plugs[0].PID != s.Plugs[0].PID {
		t.Errorf("was %+v, is %+v", s, now)
	}
}

func TestItemThatFailsEndsNothing(t *testing.T) {
	t.Parallel()
	dir := install(t, "receptor", "receptor-core", "receptor-backend-fake")
	n := startNode(t, dir, "--fake-peer", "h:1", "fail=no such luck")
	n.until("failed", func(s state) bool {
		return len(s.Items) == 1 && s.Items[0].State == "failed" && strings.Contains(s.Items[0].Err, "no such luck")
	})
	kill(t, n.cmd.Process.Pid, syscall.SIGINT)
	if status := wait(t, n.cmd); status != statusOK {
		t.Errorf("exit status %d", status)
	}
}

func TestNodeWithoutBackends(t *testing.T) {
	t.Parallel()
	n := startNode(t, install(t, "receptor", "receptor-core"))
	n.until("there", func(state) bool { return true })
	n.stop()
}

func TestCoreThatCannotStart(t *testing.T) {
	t.Parallel()
	dir := install(t, "receptor", "receptor-core", "receptor-backend-fake")
	n := startNode(t, dir, "--control-service", "filename="+filepath.Join(dir, "receptor"), "--fake-peer", "h:1")
	if status := wait(t, n.cmd); status != statusUsage {
		t.Errorf("exit status %d, want %d", status, statusUsage)
	}
}

func TestStubbornPlugIsKilled(t *testing.T) {
	t.Parallel()
	dir := install(t, "receptor-core", "receptor-worker-stubborn")
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		hurried bool
	}{{"after a while", 200 * time.Millisecond, false}, {"at once", time.Hour, true}} {
		t.Run(tt.name, func(t *testing.T) {
			log, err := os.Create(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			contains := func(text string) bool {
				b, err := os.ReadFile(log.Name())
				return err == nil && strings.Contains(string(b), text)
			}
			l := &Launcher{Dirs: []string{dir}, Stderr: log, StopTimeout: tt.timeout, DescribeTimeout: settle}
			ctx, cancel := context.WithCancel(t.Context())
			hurry := make(chan struct{})
			ended := make(chan int, 1)
			go func() {
				ended <- l.Run(ctx, hurry, []string{"--node", "id=n", "datadir=" + filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "run", "plug.sock"), "--stubborn"})
			}()
			for !contains("here I stay") && t.Context().Err() == nil {
				time.Sleep(20 * time.Millisecond) // between looks
			}
			cancel()
			if tt.hurried {
				close(hurry)
			}
			select {
			case status := <-ended:
				if status != statusOK || !contains("killing it") {
					t.Errorf("exit status %d", status)
				}
			case <-time.After(settle):
				t.Fatal("the launcher does not end")
			}
		})
	}
}
