package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// readmeCommand is the example that the README leads with, to the letter.
const readmeCommand = `receptor --node-id standalone --local-only \
    --tcp-inbound-proxy port=1234 remotenode=standalone remoteservice=proxy \
    --tcp-outbound-proxy address=localhost:4321 service=proxy`

// readmeFile is the size of the file that goes each way.
const readmeFile = 200 << 20

func TestReadmeExample(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	must(t, err)
	if !strings.Contains(strings.ReplaceAll(string(readme), "\n    ", "\n"), strings.ReplaceAll(readmeCommand, "\n    ", "\n")) {
		t.Error("the README does not hold the example as it is tested here")
	}
	// The example names its ports, so they must be free here.
	for _, addr := range []string{"localhost:1234", "localhost:4321"} {
		probe, err := net.Listen("tcp", addr)
		if err != nil {
			t.Skipf("skipped: the example's port is taken on this machine: %v", err)
		}
		probe.Close()
	}

	l, ctx := newLab(t)
	download, downloadHash := lab.Source(readmeFile, 1)
	uploaded := make(chan string, 1)
	app, err := lab.ServeOn("localhost:4321", func(c *net.TCPConn) {
		var what [1]byte
		if _, err := io.ReadFull(c, what[:]); err != nil {
			return
		}
		if what[0] == 'd' {
			if _, err := io.Copy(c, download); err == nil {
				c.CloseWrite()
			}
			return
		}
		h := sha256.New()
		if _, err := io.Copy(h, c); err != nil {
			uploaded <- err.Error()
			return
		}
		uploaded <- hex.EncodeToString(h.Sum(nil))
	})
	must(t, err)
	defer app.Close()

	args := strings.Fields(strings.ReplaceAll(readmeCommand, "\\\n", ""))
	_, err = l.Start(args[0], args[1:]...)
	must(t, err)
	must(t, l.WaitStatus(ctx, "standalone", func(s *lab.Status) bool {
		return s.Item("tcp-client service=proxy").State == "up"
	}))

	c, err := lab.DialWait(ctx, "localhost:1234")
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "d")
	must(t, err)
	must(t, c.CloseWrite())
	got := sha256.New()
	n, err := io.Copy(got, c)
	must(t, err)
	if want := downloadHash.Sum(nil); n != readmeFile || string(got.Sum(nil)) != string(want) {
		t.Errorf("fetched %d bytes with digest %x, expected %d with %x", n, got.Sum(nil), readmeFile, want)
	}

	c, err = lab.DialWait(ctx, "localhost:1234")
	must(t, err)
	defer c.Close()
	upload, uploadHash := lab.Source(readmeFile, 2)
	_, err = io.WriteString(c, "u")
	must(t, err)
	_, err = io.Copy(c, upload)
	must(t, err)
	must(t, c.CloseWrite())
	select {
	case digest := <-uploaded:
		if want := hex.EncodeToString(uploadHash.Sum(nil)); digest != want {
			t.Errorf("sent a file that arrived with digest %s, expected %s", digest, want)
		}
	case <-ctx.Done():
		t.Error("the file that was sent did not arrive")
	}
}

// The example of a unit of work, to the letter.
func TestReadmeUnitOfWork(t *testing.T) {
	t.Parallel()
	const example = "\nreceptor --node id=alpha --work-command worktype=shout command=tr params=\"a-z A-Z\"\n" +
		"receptorctl work submit shout --payload-literal hello --follow\n"
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	must(t, err)
	if !strings.Contains(string(readme), example) {
		t.Error("the README does not hold the example as it is tested here")
	}
	w := newWorkLab(t, "alpha")
	w.start("receptor", "--node", "id=alpha", "--work-command", "worktype=shout", "command=tr", "params=a-z A-Z")
	w.offered("shout")
	if out, err := w.Ctl(w.ctx, "alpha", "work", "submit", "shout", "--payload-literal", "hello", "--follow"); err != nil || out != "HELLO\n" {
		t.Errorf("%q, %v", out, err)
	}
}
