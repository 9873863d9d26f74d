package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// shellWay is three nodes in a line, the last of which has a shell as a command service,
// and the first a TCP port that leads there.
type shellWay struct {
	*lab.Lab
	ctx  context.Context
	t    *testing.T
	port int
}

func startShellWay(t *testing.T) *shellWay {
	t.Helper()
	l, ctx := newLab(t)
	w := &shellWay{Lab: l, ctx: ctx, t: t, port: freePort(t)}
	ab, bc := freePort(t), freePort(t)
	for node, items := range map[string][]string{
		"alpha": append(listens(ab), "--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(w.port), "remotenode=gamma", "remoteservice=shell"),
		"beta":  append(dials(ab), listens(bc)...),
		"gamma": append(dials(bc), "--command-service", "service=shell", "command=/bin/sh", `environment={"PS1":"ready> ","ENV":""}`, "directory="+l.Dir),
	} {
		_, err := l.Start("receptor", append([]string{"--node", "id=" + node}, items...)...)
		must(t, err)
	}
	w.waitService()
	return w
}

// waitService waits until the service is there, and the first node knows what it is.
func (w *shellWay) waitService() {
	w.t.Helper()
	must(w.t, w.WaitStatus(w.ctx, "gamma", func(s *lab.Status) bool { return s.Item("command-service service=shell").State == "up" }))
	must(w.t, w.WaitRoute(w.ctx, "alpha", "gamma"))
	must(w.t, w.WaitStatus(w.ctx, "alpha", func(s *lab.Status) bool {
		return s.Advertisement("gamma", "shell").Tags["terminal"] == "1"
	}))
}

// connect is somebody at a terminal who runs receptorctl connect, and sees a prompt.
func (w *shellWay) connect(t *testing.T, columns, rows int) *lab.Terminal {
	t.Helper()
	cmd := exec.Command(w.Programs.Path("receptorctl"), "--socket", w.Socket("alpha"), "connect", "gamma", "shell")
	cmd.Env = append(w.Env(), "TERM=vt100")
	term, err := lab.StartOnTerminal(cmd, columns, rows)
	must(t, err)
	t.Cleanup(term.Close)
	must(t, term.WaitShown(w.ctx, "ready> "))
	return term
}

// ends expects an exit status, and the terminal as it was.
func (w *shellWay) ends(t *testing.T, term *lab.Terminal, want int) {
	t.Helper()
	got, err := term.ExitCode(w.ctx)
	must(t, err)
	if got != want {
		t.Errorf("exit status %d, want %d; all that was shown: %q", got, want, term.Shown())
	}
	if ok, err := term.Restored(); err != nil || !ok {
		t.Errorf("the terminal is not as it was: %v", err)
	}
}

// stubborn starts what hears neither a hang-up nor the wish that it end, in the session and
// out of it, and returns the numbers of the processes, the shell first.
func (w *shellWay) stubborn(t *testing.T, typing func(string) error) []int {
	t.Helper()
	dir := t.TempDir()
	const deaf = `sh -c 'trap "" HUP TERM INT; echo $$ >%[1]s/%[2]s; while :; do sleep 1; done' &`
	commands := `trap "" HUP TERM; nohup ` + fmt.Sprintf(deaf, dir, "nohup") + ` setsid ` + fmt.Sprintf(deaf, dir, "setsid") + ` echo $$ >` + dir + "/shell\r"
	must(t, typing(commands))
	var pids []int
	for _, name := range []string{"shell", "nohup", "setsid"} {
		for {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if pid, perr := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && perr == nil && strings.HasSuffix(string(b), "\n") {
				pids = append(pids, pid)
				break
			}
			must(t, lab.Pause(w.ctx, lab.PollEvery/5))
		}
	}
	return pids
}

// gone waits for the end of processes.
func (w *shellWay) gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			if err := lab.Pause(w.ctx, lab.PollEvery/5); err != nil {
				t.Fatalf("process %d is left", pid)
			}
		}
	}
}

// A shell on the third node, as somebody on the first has it: an editor draws, the window
// changes, keys reach programs, ends are ends, and no process is left.
func TestCommandService(t *testing.T) {
	t.Parallel()
	w := startShellWay(t)
	t.Run("window", func(t *testing.T) {
		term := w.connect(t, 100, 30)
		must(t, term.Type("stty size; echo $TERM\r"))
		must(t, term.WaitShown(w.ctx, "30 100\r\nvt100\r\n"))
		must(t, term.Resize(71, 21))
		for !strings.Contains(term.Shown(), "21 71\r\n") { // it is told when it is told
			must(t, term.Type("stty size\r"))
			must(t, lab.Pause(w.ctx, lab.PollEvery))
		}
		must(t, term.Type("exit\r"))
		w.ends(t, term, 0)
	})
	t.Run("editor", func(t *testing.T) {
		vi, err := exec.LookPath("vi")
		if err != nil {
			t.Skip("skipped: needs the program vi")
		}
		term := w.connect(t, 80, 24)
		must(t, term.Type("PS1='do''ne> '; "+vi+" new-file\r"))
		drawn := func(first string, rows int) func([]string) bool { // a line of text, and marks of lines that are not there
			return func(lines []string) bool {
				if len(lines) != rows || lines[0] != first {
					return false
				}
				for _, l := range lines[1 : rows-1] {
					if l != "~" {
						return false
					}
				}
				return true
			}
		}
		must(t, term.WaitScreen(w.ctx, "an empty file", func(lines []string) bool { return drawn("", 24)(lines) && strings.Contains(lines[23], "new-file") }))
		must(t, term.Type("ihello there\x1b"))
		must(t, term.WaitScreen(w.ctx, "the text", drawn("hello there", 24)))
		must(t, term.Resize(60, 15))
		must(t, term.WaitScreen(w.ctx, "the text in the smaller window", drawn("hello there", 15)))
		must(t, term.Type(":wq\r"))
		must(t, term.WaitShown(w.ctx, "done> "))
		if b, err := os.ReadFile(filepath.Join(w.Dir, "new-file")); err != nil || string(b) != "hello there\n" {
			t.Errorf("the file has %q, %v", b, err)
		}
		must(t, term.Type("exit\r"))
		w.ends(t, term, 0)
	})
	t.Run("interrupt", func(t *testing.T) {
		term := w.connect(t, 80, 24)
		must(t, term.Type("cat\r"))
		must(t, term.Type("said twice\r"))
		must(t, term.WaitShown(w.ctx, "said twice\r\nsaid twice\r\n")) // by the terminal, and by cat
		must(t, term.Type("\x03"))
		must(t, term.WaitScreen(w.ctx, "a new prompt", func(lines []string) bool { return slices.Contains(lines[2:], "ready>") }))
		must(t, term.Type("echo status $?\r"))
		must(t, term.WaitShown(w.ctx, "status 130\r\n"))
		must(t, term.Type("exit 42\r"))
		w.ends(t, term, 42)
	})
	t.Run("signal", func(t *testing.T) {
		term := w.connect(t, 80, 24)
		must(t, term.Type("kill -9 $$\r"))
		w.ends(t, term, 128+9)
	})
	t.Run("leave", func(t *testing.T) {
		term := w.connect(t, 80, 24)
		pids := w.stubborn(t, term.Type)
		must(t, term.Type("~."))
		w.ends(t, term, 0)
		w.gone(t, pids)
	})
	t.Run("client is stopped", func(t *testing.T) {
		term := w.connect(t, 80, 24)
		pids := w.stubborn(t, term.Type)
		must(t, syscall.Kill(term.PID(), syscall.SIGTERM))
		w.ends(t, term, 1)
		w.gone(t, pids)
	})
	t.Run("client is killed", func(t *testing.T) {
		term := w.connect(t, 80, 24)
		pids := w.stubborn(t, term.Type)
		must(t, syscall.Kill(term.PID(), syscall.SIGKILL))
		w.gone(t, pids)
	})
	t.Run("pipe", func(t *testing.T) {
		cmd := exec.CommandContext(w.ctx, w.Programs.Path("receptorctl"), "--socket", w.Socket("alpha"), "connect", "gamma", "shell")
		cmd.Env, cmd.Stdin = w.Env(), strings.NewReader("stty size; echo $((6 * 7)) is it\n")
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "24 80\r\n42 is it\r\n") {
			t.Errorf("got %q, %v", out, err)
		}
	})
	t.Run("plain bytes", func(t *testing.T) {
		c, err := lab.DialWait(w.ctx, lab.Local(w.port))
		must(t, err)
		defer c.Close()
		deadline, _ := w.ctx.Deadline()
		must(t, c.SetDeadline(deadline))
		pids := w.stubborn(t, func(text string) error {
			_, err := io.WriteString(c, strings.ReplaceAll(text, "\r", "\n")+"stty size; echo $((6 * 7)) is it\n")
			return err
		})
		got := ""
		for buf := make([]byte, 4096); !strings.Contains(got, "24 80\r\n42 is it\r\n"); {
			n, err := c.Read(buf)
			got += string(buf[:n])
			if err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		_, err = io.WriteString(c, "exit\n")
		must(t, err)
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("at the end: %v", err)
		}
		w.gone(t, pids)
	})
	t.Run("plug is killed", func(t *testing.T) {
		term := w.connect(t, 80, 24)
		pids := w.stubborn(t, term.Type)
		s, err := w.Status(w.ctx, "gamma")
		must(t, err)
		must(t, syscall.Kill(s.Plug("command-service").PID, syscall.SIGKILL))
		w.ends(t, term, 1)
		must(t, term.WaitShown(w.ctx, "the connection was lost before the command has ended"))
		w.gone(t, pids)
	})
	t.Run("core is killed", func(t *testing.T) {
		w.waitService() // of another process of the plug
		term := w.connect(t, 80, 24)
		pids := w.stubborn(t, term.Type)
		for _, p := range w.Processes() {
			children, err := lab.Children(p.PID())
			must(t, err)
			for _, c := range children {
				if c.Program == "receptor-core" {
					must(t, syscall.Kill(c.PID, syscall.SIGKILL))
				}
			}
		}
		w.ends(t, term, 1)
		w.gone(t, pids)
	})
}
