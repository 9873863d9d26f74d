package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

// workClient has work for a node of a lab.
func workClient(l *lab.Lab, node string) *client.Client {
	return &client.Client{Patience: patience, Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Socket(node))
	}}
}

// The worker of the examples, as somebody writes and starts one: units run, queue while
// it is away, and are lost with it, as they are functions in its process.
func TestExampleWorker(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t)
	config := filepath.Join(l.Dir, "node.yml")
	must(t, os.WriteFile(config, []byte("- node: {id: alpha}\n- work-capitals: {dir: "+filepath.Join(l.Dir, "capitals")+"}\n"), 0o600))
	startCore := func() *lab.Process {
		p, err := l.Start("receptor-core", "-c", config)
		must(t, err)
		return p
	}
	startWorker := func() *lab.Process {
		p, err := l.Start("goworker", "--socket", l.PlugSocket("alpha"))
		must(t, err)
		must(t, l.WaitStatus(ctx, "alpha", func(s *lab.Status) bool { return s.Item("work-capitals").State == "up" }))
		return p
	}
	core, worker := startCore(), startWorker()
	c := workClient(l, "alpha")

	submit := func(payload io.Reader) client.Status {
		u, err := c.Submit(ctx, client.Job{Type: "capitals", Payload: payload})
		must(t, err)
		return u
	}
	results := func(unit string) (string, client.Status) {
		var out strings.Builder
		end, err := c.Results(ctx, unit, client.From{}, func(p client.Chunk) error {
			_, err := out.Write(p.Data)
			return err
		})
		must(t, err)
		return out.String(), end
	}
	u := submit(strings.NewReader("to be\nor not\n"))
	if out, end := results(u.ID); out != "TO BE\nOR NOT\n" || end.State != client.Succeeded {
		t.Errorf("%q, %+v", out, end)
	}

	// The core is killed while a unit runs, and goes on with it.
	big := strings.Repeat("0123456789abcdef\n", 1<<18)
	u = submit(strings.NewReader(big))
	core.Kill()
	startCore()
	if out, end := results(u.ID); out != strings.ToUpper(big) || end.State != client.Succeeded {
		t.Errorf("core killed: %d bytes of %d, %+v", len(out), len(big), end)
	}

	// Without the worker a unit waits for it.
	worker.Kill()
	u = submit(strings.NewReader("late\n"))
	startWorker()
	if out, end := results(u.ID); out != "LATE\n" || end.State != client.Succeeded {
		t.Errorf("late: %q, %+v", out, end)
	}
	released, err := c.Release(ctx, u.ID, false)
	if err != nil || !released {
		t.Errorf("release: %v, %v", released, err)
	}
	for { // the worker is told of it after us
		_, err := os.Stat(filepath.Join(l.Dir, "capitals", u.ID))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		must(t, err)
		must(t, lab.Pause(ctx, 20*time.Millisecond))
	}
}
