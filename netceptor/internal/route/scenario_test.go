package route

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// Each file in testdata is a scenario: comments, commands and what they print.
//
//	> node NAME EPOCH [legacy]
//	> link A B [COST]
//	> unlink A B
//	> restart NAME EPOCH
//	> inject FROM TO JSON    an update on the link, not made by FROM's machine
//	> run DURATION           prints each message that arrives, and what comes of it
//	> pass DURATION          the same, but prints only a count
//	> routes                 of all nodes
//	> known NAME             epoch, sequence, links and Ext of all that it knows
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios:", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s does not tell what happens now (rewrite with -update, and read the difference):\n%s", file, got)
			}
		})
	}
}

func play(t *testing.T, script string) []byte {
	m := newMesh(t)
	var out bytes.Buffer
	m.trace = func(at time.Time, text string) {
		fmt.Fprintf(&out, "%9v  %s\n", at.Sub(start), text)
	}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		command, ok := strings.CutPrefix(line, "> ")
		if !ok {
			if line == "" || strings.HasPrefix(line, "#") {
				fmt.Fprintln(&out, line)
			}
			continue // an old output
		}
		fmt.Fprintln(&out, line)
		m.command(&out, command)
		m.check()
	}
	return out.Bytes()
}

func (m *mesh) command(out *bytes.Buffer, command string) {
	word := strings.Fields(command)
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(word[i], 10, 64)
		if err != nil {
			m.t.Fatalf("%s: %v", command, err)
		}
		return n
	}
	length := func(i int) time.Duration {
		d, err := time.ParseDuration(word[i])
		if err != nil {
			m.t.Fatalf("%s: %v", command, err)
		}
		return d
	}
	switch word[0] {
	case "node":
		m.add(word[1], number(2), len(word) > 3)
	case "link":
		cost := 1.0
		if len(word) > 3 {
			cost = float64(number(3))
		}
		m.link(word[1], word[2], cost)
	case "unlink":
		m.unlink(word[1], word[2])
	case "restart":
		m.restart(word[1], number(2))
	case "inject":
		m.inject(word[1], word[2], strings.SplitN(command, " ", 4)[3])
	case "run":
		m.run(length(1))
	case "pass":
		trace, sent := m.trace, m.sent
		m.trace = func(time.Time, string) {}
		m.run(length(1))
		m.trace = trace
		fmt.Fprintf(out, "           %d messages\n", m.sent-sent)
	case "routes":
		for _, name := range m.names() {
			fmt.Fprintf(out, "           %s: %s\n", name, formatRoutes(m.nodes[name].Routes()))
		}
	case "known":
		n := m.nodes[word[1]]
		fmt.Fprintf(out, "           %s\n", format(n.origins, func(name string, o *origin) string {
			text := fmt.Sprintf("%s=%d/%d%s", name, o.epoch, o.sequence, formatLinks(o.links))
			if o.ext != nil {
				text += "ext"
			}
			return text
		}))
	default:
		m.t.Fatalf("%s: no such command", command)
	}
}
