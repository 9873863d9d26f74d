package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
)

// frame is a control frame on its way between a good plug and the core.
type frame struct {
	wire.Header
	body map[string]any
}

// saboteur stands between a good plug and the core, and breaks one rule. Its
// functions see every control frame on its way and say what becomes of it; nil
// ones let all pass.
type saboteur struct {
	preamble func([]byte)

	// toCore and toPlug may change a frame; false drops it. answer puts a frame
	// into the other direction.
	toCore, toPlug func(f *frame, answer func(frame)) bool

	// toMesh and toMedium change what follows the first exchange of a data connection.
	toMesh, toMedium func(b []byte) []byte

	keepOpen bool // the end of one side of a data connection is not told to the other
	sessions int  // how many connections of sessions there may be; 0: all
}

// dialer puts the saboteur on a plug's way to its core.
func (s *saboteur) dialer(dial plugtest.Dialer) plugtest.Dialer {
	var mu sync.Mutex
	sessions := 0
	return func(ctx context.Context) (net.Conn, error) {
		core, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		inside, outside, err := socketPair()
		if err != nil {
			return nil, errors.Join(err, core.Close())
		}
		go func() {
			b := make([]byte, wire.PreambleSize)
			if _, err := io.ReadFull(outside, b); err != nil {
				_, _ = core.Close(), outside.Close()
				return
			}
			isData := wire.ConnKind(b[9]) == wire.ConnData
			if !isData {
				mu.Lock()
				sessions++
				late := s.sessions > 0 && sessions > s.sessions
				mu.Unlock()
				if late {
					_, _ = core.Close(), outside.Close()
					return
				}
			}
			if s.preamble != nil {
				s.preamble(b)
			}
			_, _ = core.Write(b)
			var writing sync.Mutex
			go s.pump(outside, core, &writing, isData, s.toCore, s.toMesh)
			s.pump(core, outside, &writing, isData, s.toPlug, s.toMedium)
		}()
		return inside, nil
	}
}

// socketPair returns the two ends of a Unix socket.
func socketPair() (net.Conn, net.Conn, error) {
	l, err := net.Listen("unix", "")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	a, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	b, err := l.Accept()
	return a, b, err
}

// pump carries one direction until it ends.
func (s *saboteur) pump(from, to net.Conn, writing *sync.Mutex, isData bool, see func(*frame, func(frame)) bool, bytes func([]byte) []byte) {
	defer func() {
		if !isData || !s.keepOpen {
			_, _ = from.Close(), to.Close()
		}
	}()
	write := func(c net.Conn, f frame) {
		b, err := json.Marshal(f.body)
		if err != nil {
			return
		}
		f.Length = uint32(len(b))
		writing.Lock()
		defer writing.Unlock()
		_, _ = c.Write(append(f.Append(nil), b...))
	}
	for first := true; first || !isData; first = false {
		var f frame
		head := make([]byte, wire.HeaderSize)
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		if string(head[:8]) == wire.Magic { // of a core of another major
			_, _ = to.Write(head)
			continue
		}
		f.Header, _, _ = wire.ParseHeader(head)
		b := make([]byte, f.Length)
		if _, err := io.ReadFull(from, b); err != nil {
			return
		}
		if json.Unmarshal(b, &f.body) != nil {
			return
		}
		if see == nil || see(&f, func(a frame) { write(from, a) }) {
			write(to, f)
		}
	}
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			out := b[:n]
			if bytes != nil {
				out = bytes(out)
			}
			if _, err := to.Write(out); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drop lets no frame of a type and flags pass.
func drop(t wire.Type, flags wire.Flags) func(*frame, func(frame)) bool {
	return func(f *frame, _ func(frame)) bool { return f.Type != t || f.Flags != flags }
}

// change changes the frames of a type and flags.
func change(t wire.Type, flags wire.Flags, how func(body map[string]any)) func(*frame, func(frame)) bool {
	return func(f *frame, _ func(frame)) bool {
		if f.Type == t && f.Flags == flags {
			how(f.body)
		}
		return true
	}
}

func set(name string, value any) func(map[string]any) {
	return func(b map[string]any) { b[name] = value }
}

// item returns the first item of CONFIG.
func item(b map[string]any) map[string]any {
	items, _ := b["items"].([]any)
	if len(items) == 0 {
		return map[string]any{}
	}
	return items[0].(map[string]any)
}

// broken are plugs that break one rule each, and the checks that find it.
var broken = []struct {
	name  string
	role  string
	plug  *saboteur
	fails []string // nil: all
}{
	{"preamble with a reserved field", wire.RoleLink, &saboteur{preamble: func(b []byte) { b[11] = 1 }}, nil},
	{
		"name", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeHello, 0, set("name", "Not A Name"))},
		[]string{"session/hello"},
	},
	{
		"no process", wire.RoleStream,
		&saboteur{toCore: change(wire.TypeHello, 0, set("process", ""))},
		[]string{"session/hello"},
	},
	{
		"another process after a restart of the core", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeHello, 0, func(b map[string]any) { b["process"] = time.Now().String() })},
		[]string{"restart/attach"},
	},
	{
		"no version of its role", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeHello, 0, func(b map[string]any) {
			b["roles"] = []any{map[string]any{"role": "link", "versions": []int{2}}}
		})},
		[]string{"session/roles"},
	},
	{
		"kind without a direction", wire.RoleStream,
		&saboteur{toCore: change(wire.TypeHello, 0, func(b map[string]any) {
			b["kinds"] = append(b["kinds"].([]any), map[string]any{"kind": "good-extra", "role": "stream", "params": []any{}})
		})},
		[]string{"session/kinds"},
	},
	{
		"no answer to PING", wire.RoleLink,
		&saboteur{toCore: drop(wire.TypePing, wire.FlagResponse)},
		[]string{"session/ping"},
	},
	{
		"closes on a notification that it does not know", wire.RoleLink,
		&saboteur{toPlug: func(f *frame, _ func(frame)) bool {
			if f.Type == 0x7e && f.ID == 0 {
				f.ID = 1 // of the wrong parity: the good plug closes
			}
			return true
		}},
		[]string{"session/unknown-notification"},
	},
	{
		"answers what it does not know", wire.RoleLink,
		&saboteur{toCore: func(f *frame, _ func(frame)) bool {
			if f.Type == 0x7e {
				f.Flags, f.body = wire.FlagResponse, map[string]any{}
			}
			return true
		}},
		[]string{"session/unknown-request"},
	},
	{
		"no STATUS", wire.RoleLink,
		&saboteur{toCore: drop(wire.TypeStatus, 0)},
		[]string{"session/status", "session/wrong-parameter"},
	},
	{
		"STATUS with a state of its own", wire.RoleStream,
		&saboteur{toCore: change(wire.TypeStatus, 0, func(b map[string]any) { item(b)["state"] = "fine" })},
		[]string{"session/status", "session/wrong-parameter"},
	},
	{
		"takes every CONFIG", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeConfig, wire.FlagResponse, func(b map[string]any) { delete(b, "errors") })},
		[]string{"session/config-refused"},
	},
	{
		"starts items again that have not changed", wire.RoleLink,
		&saboteur{toPlug: change(wire.TypeConfig, 0, func(b map[string]any) {
			if p, ok := item(b)["params"].(map[string]any); ok {
				p["changed"] = time.Now().String()
			}
		})},
		[]string{"restart/listener", "session/config-diff"},
	},
	{
		"goes on after DRAIN", wire.RoleStream,
		&saboteur{toPlug: func(f *frame, answer func(frame)) bool {
			if f.Type == wire.TypeDrain {
				f.Flags, f.body = wire.FlagResponse, map[string]any{}
				answer(*f)
				return false
			}
			return true
		}},
		[]string{"session/drain"},
	},
	{
		"another item in LINK", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeLink, 0, set("item", "another"))},
		[]string{"link/open-in", "link/open-out", "link/redial", "restart/links-again"},
	},
	{
		"changes a byte of a link", wire.RoleLink,
		&saboteur{toMesh: func(b []byte) []byte {
			if len(b) > 100 { // not of a short greeting
				b[50] ^= 1
			}
			return b
		}},
		[]string{"link/relay-bytes"},
	},
	{
		"keeps what belongs to a link that has ended", wire.RoleLink,
		&saboteur{keepOpen: true},
		[]string{"link/end-by-core", "link/end-by-medium", "link/redial", "link/relay-two", "restart/links-again", "restart/links-end"},
	},
	{
		"never attaches again", wire.RoleStream,
		&saboteur{sessions: 1},
		[]string{
			"authorisation/retry-after", "authorisation/secret", "restart/attach", "restart/bind", "restart/listener",
			"skew/hello-refused", "skew/major", "skew/role-refused", "stream/gone-to-application",
		},
	},
	{
		"an end where RESET was", wire.RoleStream,
		&saboteur{toMedium: func(b []byte) []byte {
			if i := strings.Index(string(b), "\x03\x00\x00\x00\x00\x00{"); i >= 2 {
				return append(slices.Clone(b[:i-2]), wire.RecordHeader{Type: wire.RecordEnd}.Append(nil)...)
			}
			return b
		}},
		[]string{"stream/reset-to-application"},
	},
	{
		"no END", wire.RoleStream,
		&saboteur{toMesh: func(b []byte) []byte {
			if string(b) == string(wire.RecordHeader{Type: wire.RecordEnd}.Append(nil)) {
				return nil
			}
			return b
		}},
		[]string{"stream/half-close-application", "stream/half-close-mesh"},
	},
	{
		"takes every stream", wire.RoleStream,
		&saboteur{toCore: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeAccept {
				f.Flags, f.body = wire.FlagResponse, map[string]any{}
			}
			return true
		}},
		[]string{"stream/accept-refused", "stream/accept-unknown"},
	},
	{
		"another node in DIAL", wire.RoleStream,
		&saboteur{toCore: change(wire.TypeDial, 0, set("node", "elsewhere"))},
		[]string{"stream/dial"},
	},
	{
		"another bind after a restart of the core", wire.RoleStream,
		&saboteur{
			toCore: change(wire.TypeBind, 0, func(b map[string]any) { b["bind"] = b["bind"].(string) + "#" + time.Now().String() }),
			toPlug: change(wire.TypeAccept, 0, func(b map[string]any) { b["bind"], _, _ = strings.Cut(b["bind"].(string), "#") }),
		},
		[]string{"restart/bind", "stream/unbind"},
	},
	{
		"never gives a service up", wire.RoleStream,
		&saboteur{toCore: drop(wire.TypeUnbind, 0)},
		[]string{"stream/unbind"},
	},
}

// allAtOnce is how many broken plugs are checked at a time: they mostly wait.
const allAtOnce = 4

func TestBrokenPlugsFail(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short is given: it waits for what never comes, again and again")
	}
	var running sync.WaitGroup
	turn := make(chan struct{}, allAtOnce)
	ports := new(check.Ports)
	for _, b := range broken {
		turn <- struct{}{}
		running.Go(func() {
			defer func() { <-turn }()
			o := check.Options{Role: b.role, Start: inProcess(goodPlug(b.role), b.plug.dialer), Timeout: 15 * time.Second, Ports: ports}
			var checks sync.WaitGroup
			for _, c := range check.Checks(b.role, "") {
				if strings.HasSuffix(c.ID, "-bytes") && b.plug.toMesh == nil {
					continue // much to carry, and nothing touches it
				}
				checks.Go(func() {
					r := check.RunOne(t.Context(), o, c)
					want := slices.Contains(b.fails, r.ID) || b.fails == nil && r.Outcome != check.Skip
					if want != (r.Outcome == check.Fail) {
						t.Errorf("%s: that it fails is %v, but: %s", b.name, want, r)
					}
				})
			}
			checks.Wait()
		})
	}
	running.Wait()
}
