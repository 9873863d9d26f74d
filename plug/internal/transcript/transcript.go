// Package transcript holds conversations of plug/1 to what they once were: the
// exact bytes that each side has sent, in order, in files that name the commit
// whose code has sent them.
//
// A conversation is two scripts, the plug's and the core's, over the code that
// all plugs and cores use. Record runs both and writes down what passes between
// them. Replay runs one of them alone: it is fed what the other side has sent
// once, and must send, byte for byte, what it has sent once. So a change that
// an older plug or core would notice fails a test.
package transcript

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Side is who sends.
type Side string

// The sides.
const (
	Plug Side = "plug"
	Core Side = "core"
)

// Transcript is one conversation.
type Transcript struct {
	About  string // in a line
	Commit string // whose code has recorded it
	Events []Event
}

// Event is something that one side did on one connection. These are numbered
// from 1, in the order in which they were opened.
type Event struct {
	From   Side
	Conn   int
	Note   string // for people
	Bytes  []byte // none: it has closed the connection
	FDs    int    // descriptors that came with the first byte
	closed bool
}

// Closed says that the side has closed the connection.
func (e *Event) Closed() bool { return e.closed }

// The parts of the text form, which is
//
//	# what it is about
//	# commit: whose code
//
//	plug 1: HELLO, request 1, with 1 descriptor
//	  0000000c0100010000000001
//	  {"name":"x"}
//	core 1 closes
//
// Lines of bytes are hexadecimal, or one JSON object as it is.
const (
	aboutMark  = "# "
	commitMark = "# commit: "
	indent     = "  "
	perLine    = 32 // bytes of a hexadecimal line
)

var heading = regexp.MustCompile(`^(plug|core) ([1-9][0-9]*)(?:: (.*?)(?:, with ([1-4]) descriptors?)?| (closes))$`)

// Append appends the text form to b.
func (t *Transcript) Append(b []byte) []byte {
	b = fmt.Appendf(b, "%s%s\n%s%s\n\n", aboutMark, t.About, commitMark, t.Commit)
	for _, e := range t.Events {
		if e.closed {
			b = fmt.Appendf(b, "%s %d closes\n", e.From, e.Conn)
			continue
		}
		b = fmt.Appendf(b, "%s %d: %s", e.From, e.Conn, e.Note)
		switch {
		case e.FDs == 1:
			b = append(b, ", with 1 descriptor"...)
		case e.FDs > 1:
			b = fmt.Appendf(b, ", with %d descriptors", e.FDs)
		}
		b = append(b, '\n')
		raw, text := e.Bytes, []byte(nil)
		if i := bytes.IndexByte(raw, '{'); i >= 0 && isText(raw[i:]) {
			raw, text = raw[:i], raw[i:]
		}
		for len(raw) > 0 {
			n := min(perLine, len(raw))
			b = fmt.Appendf(b, "%s%s\n", indent, hex.EncodeToString(raw[:n]))
			raw = raw[n:]
		}
		if len(text) > 0 {
			b = fmt.Appendf(b, "%s%s\n", indent, text)
		}
	}
	return b
}

// isText says whether b can stand in a line.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// Parse reads the text form.
func Parse(text []byte) (*Transcript, error) {
	t := new(Transcript)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 2<<20)
	for n := 1; lines.Scan(); n++ {
		if err := t.parse(lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if t.Commit == "" || len(t.Events) == 0 {
		return nil, errors.New("a transcript has a commit and events, this one has not")
	}
	for i, e := range t.Events {
		if !e.closed && len(e.Bytes) == 0 {
			return nil, fmt.Errorf("event %d: neither bytes nor the end", i+1)
		}
	}
	return t, nil
}

func (t *Transcript) parse(line string) error {
	switch {
	case line == "":
	case strings.HasPrefix(line, commitMark):
		t.Commit = line[len(commitMark):]
	case strings.HasPrefix(line, aboutMark):
		t.About = line[len(aboutMark):]
	case strings.HasPrefix(line, indent):
		return t.parseBytes(line[len(indent):])
	default:
		m := heading.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("expected who does what on which connection, got %q", line)
		}
		e := Event{From: Side(m[1]), Note: m[3], closed: m[5] != ""}
		var err error
		if e.Conn, err = strconv.Atoi(m[2]); err != nil {
			return err
		}
		if m[4] != "" {
			e.FDs = int(m[4][0] - '0')
		}
		t.Events = append(t.Events, e)
	}
	return nil
}

func (t *Transcript) parseBytes(text string) error {
	if len(t.Events) == 0 || t.Events[len(t.Events)-1].closed {
		return errors.New("bytes that nobody has sent")
	}
	e := &t.Events[len(t.Events)-1]
	if strings.HasPrefix(text, "{") {
		e.Bytes = append(e.Bytes, text...)
		return nil
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return fmt.Errorf("expected hexadecimal bytes or a JSON object: %w", err)
	}
	e.Bytes = append(e.Bytes, b...)
	return nil
}
