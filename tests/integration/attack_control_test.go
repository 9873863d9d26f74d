package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// What a control client can say, on the Unix socket and over the mesh: every line
// is answered by an error, none makes or changes a file anywhere, and others are
// served as before.
func TestAttacksOfAControlClient(t *testing.T) {
	s := newStand(t)
	var lines []string
	for _, id := range []string{
		"../../trav", "..", ".", "", "/tmp/trav", "a\x00b", "..%2f..%2ftrav", "a/../../trav", `..\trav`, "trav\u202e", strings.Repeat("a", 10<<10), "unknown1",
	} {
		for _, verb := range []string{"status", "cancel", "release", "force-release", "results", "submit", "list"} {
			if verb == "list" && id == "" {
				continue // which is all units
			}
			lines = append(lines,
				fmt.Sprintf("work %s %s", verb, id),
				fmt.Sprintf(`{"command":"work","subcommand":%q,"unitid":%s,"startpos":0}`, verb, quoted(t, id)),
				fmt.Sprintf(`{"v":1,"command":"work %s","args":{"unit":%s}}`, verb, quoted(t, id)))
		}
		for _, sub := range []string{`"status"`, `"cancel"`, `"release","force":true`, `"results","stdout":-1`, `"submit","type":"x","submission":` + quoted(t, id)} {
			args := fmt.Sprintf(`{"subcommand":%s,"unit":%s}`, sub, quoted(t, id))
			lines = append(lines, fmt.Sprintf(`{"v":1,"command":"work","args":%s}`, args))
		}
		lines = append(lines, "connect "+healthy+" "+id+"toolong/..", "traceroute "+id+"/..")
	}
	lines = append(lines,
		`{"command":"status","requested_fields":7}`, `{"command":"status","requested_fields":{"a":[]}}`,
		`{"command":7}`, `{"command":null}`, `{`, `{"v":1e400}`, `{"v":-1,"command":"status"}`, `{"v":1,"id":[[[[[[`,
		strings.Repeat("[", 100_000), `{"a":`+strings.Repeat(`[`, 100_000), "\x00\x01\x02\xff", strings.Repeat("x ", 100_000),
	)
	before := tree(t, s.Dir)
	for name, open := range map[string]func(t *testing.T) net.Conn{
		"Unix socket": func(t *testing.T) net.Conn { return s.converse(t, victim) },
		"mesh": func(t *testing.T) net.Conn {
			c := s.converse(t, healthy)
			_, err := fmt.Fprintf(c, `{"v":1,"command":"connect","args":{"node":%q,"service":"control"}}`+"\n", victim)
			must(t, err)
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			in := bufio.NewReader(c)
			for skip := 1; skip > 0; { // greetings, and the answer to connect
				line, err := in.ReadString('\n')
				must(t, err)
				if strings.HasPrefix(line, "Receptor Control, node "+victim) {
					skip--
				}
			}
			for _, line := range lines {
				_, err := fmt.Fprintf(c, "%s\n{\"v\":1,\"id\":\"next\",\"command\":\"status\",\"args\":{\"fields\":[\"node\"]}}\n", line)
				must(t, err)
				failed := false
				for {
					answer, err := in.ReadString('\n')
					if err != nil {
						t.Fatalf("after %.100q: %v", line, err)
					}
					if strings.Contains(answer, `"id":"next"`) {
						break
					}
					failed = failed || strings.Contains(strings.ToLower(answer), "error")
				}
				if !failed {
					t.Errorf("%.100q was not answered by an error", line)
				}
			}
			// A line without end is answered, and ends the conversation.
			go func() { _, _ = c.Write([]byte(strings.Repeat("x", 2<<20))) }()
			if answer, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(answer, "ERROR: ") {
				t.Errorf("a line of 2 MiB was answered by %q, %v", answer, err)
			}
			s.expectUnhurt(t)
		})
	}
	after := tree(t, s.Dir)
	for _, path := range slices.Sorted(maps.Keys(after)) {
		if before[path] != after[path] {
			t.Errorf("%s is new, or was changed", path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			t.Errorf("%s is gone", path)
		}
	}
	for _, path := range []string{"/tmp/trav", filepath.Join(filepath.Dir(s.Dir), "trav"), "trav"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}

// More clients than are served: the others are told so, the crowd's end makes room.
func TestCrowdOfControlClients(t *testing.T) {
	s := newStand(t)
	var crowd []net.Conn
	for range 300 {
		crowd = append(crowd, s.converse(t, victim))
	}
	refused := 0
	for _, c := range crowd {
		line, err := bufio.NewReader(c).ReadString('\n')
		must(t, err)
		if strings.HasPrefix(line, "ERROR: too many conversations") {
			refused++
		}
	}
	if refused != 300-256 {
		t.Errorf("%d of 300 clients were refused", refused)
	}
	// The mesh has places of its own.
	if out, err := s.Ctl(s.ctx, healthy, "ping", victim, "--count", "1"); err != nil {
		t.Errorf("ping: %v %s", err, out)
	}
	for _, c := range crowd {
		c.Close()
	}
	must(t, s.WaitStatus(s.ctx, victim, func(*lab.Status) bool { return true }))
	s.expectUnhurt(t)
}

// converse connects to a node's control socket.
func (s *stand) converse(t *testing.T, node string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", s.Socket(node))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	deadline, _ := s.ctx.Deadline()
	c.SetDeadline(deadline)
	return c
}

// tree is all files below a directory, with what would tell that one was changed.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		return nil
	}))
	return files
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	must(t, err)
	return string(b)
}
