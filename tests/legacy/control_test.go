package legacy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// conversation is the client's side of a control conversation.
type conversation struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// converseWith opens a conversation with a node within the process.
func converseWith(t *testing.T, n *Node) *conversation {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.converse(t.Context(), &ControlSession{conn: far, Local: true})
	}()
	t.Cleanup(func() {
		near.Close()
		<-done
	})
	c := &conversation{t, near, bufio.NewReader(near)}
	c.expect("Receptor Control, node " + n.ID())
	return c
}

func (c *conversation) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conversation) line() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *conversation) expect(want string) {
	c.t.Helper()
	if got := c.line(); got != want {
		c.t.Errorf("answered %q, expected %q", got, want)
	}
}

func TestControlLines(t *testing.T) {
	t.Parallel()
	for say, want := range map[string][]string{
		"PING\n":                                 {"ERROR: no ping target"},
		"\n\r\nreload now\r\n":                   {`{"Error":"no configuration file was provided, reload function not set ERRORCODE 4","Success":false}`},
		"ping nobody\n":                          {`{"Error":"no route to node","Success":false}`},
		`{"command":"ping","target":7}` + "\n":   {"ERROR: ping target must be string"},
		`{"command":"PING","target":"x"}` + "\n": {"ERROR: Unknown command"},
		"{}\n":                                   {"ERROR: JSON did not contain a command", "ERROR: Unknown command"},
		`{"command":7}` + "\n":                   {"ERROR: command must be a string", "ERROR: Unknown command"},
		"status all\n":                           {"ERROR: status command does not take parameters"},
		`{"command":"status","requested_fields":["NodeID","Nothing"]}` + "\n": {`{"NodeID":"a"}`},
		"work\n":                        {"ERROR: bad command"},
		"work list\n":                   {"{}"},
		"work status x\n":               {"ERROR: unknown work unit x"},
		"work submit localhost sleep\n": {"ERROR: unknown work type sleep"},
		"work LIST x\nnonsense\n":       {"ERROR: unknown work unit x", "ERROR: Unknown command"},
		"connect\n":                     {"ERROR: connect requires a node and a service"},
	} {
		t.Run(strings.TrimSpace(say), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := converseWith(t, start(t, Config{ID: "a"}))
				go io.WriteString(c.conn, say)
				for _, line := range want {
					c.expect(line)
				}
			})
		})
	}
}

// A command may take over the conversation, as the submitting of work does.
func TestControlCommandOfAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		submit := func(_ context.Context, s *ControlSession, _ Request) (any, error) {
			fmt.Fprintln(s, "Send stdin data and EOF.")
			payload, err := io.ReadAll(s.Reader)
			fmt.Fprintf(s, "%d bytes\n", len(payload))
			if err != nil {
				return nil, err
			}
			return nil, ErrEndSession
		}
		nodes := []*Node{start(t, Config{ID: "a"}), start(t, Config{ID: "b", Control: map[string]Command{"work": submit}})}
		join(nodes[0], nodes[1], LinkConfig{}, LinkConfig{})
		if _, err := nodes[1].ServeControl("control", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		c := converseWith(t, nodes[0])
		c.say("connect b control\n")
		c.expect("Connecting")
		c.expect("Receptor Control, node b")
		s, err := nodes[0].Dial(t.Context(), "b", "control", nil)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(s, "work submit\nall of\nthis")
		s.CloseWrite()
		got, err := io.ReadAll(s)
		if want := "Receptor Control, node b\nSend stdin data and EOF.\n11 bytes\n"; err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("read %q, %v, expected %q", got, err, want)
		}
	})
}

func TestControlSocket(t *testing.T) {
	t.Parallel()
	n := start(t, Config{ID: "a"})
	name := filepath.Join(t.TempDir(), "s")
	if err := n.ServeControlSocket(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	conn, err := net.Dial("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &conversation{t, conn, bufio.NewReader(conn)}
	c.expect("Receptor Control, node a")
	c.say("work list\n")
	c.expect("{}")
}

// Vector 05: the model, in the state of that node, gives the same answers but
// for times and the machine's own size.
func TestVectorControl(t *testing.T) {
	t.Parallel()
	var v struct {
		Conversation []struct{ From, Text string }
	}
	text, err := os.ReadFile("../../netceptor/control/testdata/05-control-status-ping-traceroute.json")
	if err != nil {
		t.Fatal(err)
	}
	decode(t, text, &v)
	synctest.Test(t, func(t *testing.T) {
		echo, slow := WorkCommand{WorkType: "echo"}, WorkCommand{WorkType: "slow"}
		alpha := start(t, Config{ID: "alpha", WorkCommands: []WorkCommand{echo}})
		beta := start(t, Config{ID: "beta"})
		join(alpha, beta, LinkConfig{}, LinkConfig{})
		time.Sleep(2 * time.Second)
		if _, err := alpha.ServeControl("control", nil); err != nil {
			t.Fatal(err)
		}
		tags := map[string]string{"type": "Control Service"}
		alpha.mu.Lock()
		alpha.routing.costs["gamma"], alpha.routing.costs["mini"] = map[string]float64{}, map[string]float64{}
		alpha.adverts.receive(Advert{NodeID: "beta", Service: "control", Time: time.Now(), ConnType: ConnStream, Tags: tags, WorkCommands: []WorkCommand{echo, slow}})
		alpha.adverts.receive(Advert{NodeID: "gamma", Service: "control", Time: time.Now(), ConnType: ConnStream, Tags: tags})
		alpha.mu.Unlock()
		c := converseWith(t, alpha)
		for i, e := range v.Conversation {
			switch {
			case e.From == "client":
				c.say(e.Text)
			case e.From == "server" && i > 1:
				if got, want := sameMachine(c.line()), sameMachine(strings.TrimSuffix(e.Text, "\n")); got != want {
					t.Errorf("answered\n%s, expected\n%s", got, want)
				}
			}
		}
	})
}

// sameMachine takes out what depends on the time and the machine.
func sameMachine(answer string) string {
	for _, r := range [][2]string{
		{`"Time":("[^"]*"|\d+)`, `"Time":0`},
		{`"TimeStr":"[^"]*s"`, `"TimeStr":""`},
		{`"SystemCPUCount":\d+`, `"SystemCPUCount":0`},
		{`"SystemMemoryMiB":\d+`, `"SystemMemoryMiB":0`},
	} {
		answer = regexp.MustCompile(r[0]).ReplaceAllString(answer, r[1])
	}
	return answer
}

func TestMemory(t *testing.T) {
	t.Parallel()
	if got := memoryMiB(); runtime.GOOS == "linux" && got == 0 {
		t.Error("no memory")
	}
}
