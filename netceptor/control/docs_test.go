package control_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor/control"
)

// TestDocumentedTranscripts runs the conversations of docs/control.md.
func TestDocumentedTranscripts(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("../../go.work"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("the module stands alone here, without docs")
	}
	doc, err := os.ReadFile("../../docs/control.md")
	if err != nil {
		t.Fatal(err)
	}
	m := threeNodes()
	m.OnStream = map[string]func(control.Stream){"beta:upper": func(s control.Stream) {
		in := bufio.NewScanner(s)
		for in.Scan() {
			if _, err := io.WriteString(s, strings.ToUpper(in.Text())+"\n"); err != nil {
				return
			}
		}
		_ = s.Close()
	}}
	path := serve(t, newServer(m))

	blocks := bytes.Split(doc, []byte("```control\n"))[1:]
	if len(blocks) == 0 {
		t.Fatal("no transcripts found")
	}
	for _, block := range blocks {
		transcript, _, ok := strings.Cut(string(block), "```\n")
		if !ok {
			t.Fatal("a transcript does not end")
		}
		c := dial(t, path)
		for line := range strings.Lines(transcript) {
			switch said := line[min(3, len(line)):]; line[:min(3, len(line))] {
			case "C: ":
				send(t, c, said)
			case "S: ":
				expect(t, c, said)
			default:
				t.Fatalf("what is %q?", line)
			}
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, c)
	}
}
