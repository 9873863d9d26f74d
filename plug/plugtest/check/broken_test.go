package check_test

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
)

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

// handedOver is, of an ID, that it is checked with hand-off; alone: all that are.
const handedOver = " (hand-off)"

// handing lets how change the frames of a type that hand a socket over.
func handing(t wire.Type, how func(*frame)) func(*frame, func(frame)) bool {
	return func(f *frame, _ func(frame)) bool {
		if f.Type == t && len(f.files) > 0 {
			how(f)
		}
		return true
	}
}

// withConn lets do do something to the socket of a frame.
func withConn(f *frame, do func(*net.TCPConn)) {
	c, err := net.FileConn(f.files[0])
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }() // a duplicate
	if tcp, ok := c.(*net.TCPConn); ok {
		do(tcp)
	}
}

// holder holds duplicates of all that is handed over, for as long as it lives.
type holder struct {
	mu    sync.Mutex
	socks []net.Conn
}

// saboteur holds on, and keeps it from its plug that a link was refused.
func (h *holder) saboteur() *saboteur {
	return &saboteur{
		toCore: func(f *frame, _ func(frame)) bool {
			if f.Type.Opens() && len(f.files) > 0 {
				h.mu.Lock()
				defer h.mu.Unlock()
				if c, err := net.FileConn(f.files[0]); err == nil {
					h.socks = append(h.socks, c)
				}
			}
			return true
		},
		toPlug: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeLink && f.Flags&wire.FlagError != 0 && f.ID != 1 {
				f.Flags, f.body = wire.FlagResponse, map[string]any{"object": "sabotage"}
			}
			return true
		},
	}
}

// brokenPlug is one that breaks a rule, and the checks that find it.
type brokenPlug struct {
	name  string
	role  string
	plug  *saboteur
	fails []string // nil: all
}

var broken = []brokenPlug{
	{"preamble with a reserved field", wire.RoleLink, &saboteur{preamble: func(b []byte) { b[11] = 1 }}, nil},
	{
		"name", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeHello, 0, set("name", "Not A Name"))},
		[]string{"session/hello"},
	},
	{
		"no process", wire.RoleStream,
		&saboteur{toCore: change(wire.TypeHello, 0, set("process", ""))},
		[]string{"restart/plug", "restart/plug" + handedOver, "session/hello"},
	},
	{
		"another process after a restart of the core", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeHello, 0, func(b map[string]any) { b["process"] = time.Now().String() })},
		[]string{"restart/attach", "restart/attach" + handedOver},
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
		[]string{"session/config-refused", "session/config-refused" + handedOver},
	},
	{
		"starts items again that have not changed", wire.RoleLink,
		&saboteur{toPlug: change(wire.TypeConfig, 0, func(b map[string]any) {
			if p, ok := item(b)["params"].(map[string]any); ok {
				p["changed"] = time.Now().String()
			}
		})},
		[]string{"restart/listener", "restart/listener" + handedOver, "session/config-diff"},
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
		[]string{"session/drain", "session/drain" + handedOver, "session/drain-deadline"},
	},
	{
		"another item in LINK", wire.RoleLink,
		&saboteur{toCore: change(wire.TypeLink, 0, set("item", "another"))},
		[]string{"link/open-in", "link/open-out", "link/redial", "restart/links-again", "restart/links-again" + handedOver},
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
			"authorisation/retry-after", "authorisation/secret", "authorisation/secret" + handedOver, "descriptors/outlives",
			"restart/attach", "restart/attach" + handedOver, "restart/bind", "restart/bind" + handedOver,
			"restart/listener", "restart/listener" + handedOver,
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
		[]string{"stream/accept-cancel", "stream/accept-refused", "stream/accept-unknown"},
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
		[]string{"restart/bind", "restart/bind" + handedOver, "stream/unbind"},
	},
	{
		"never gives a service up", wire.RoleStream,
		&saboteur{toCore: drop(wire.TypeUnbind, 0)},
		[]string{"stream/unbind"},
	},
	{
		"no probe", wire.RoleLink,
		&saboteur{toCore: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeHello {
				f.FDs, f.files = 0, nil
			}
			return true
		}},
		[]string{handedOver},
	},
	{
		"a probe that is no fresh socket", wire.RoleLink,
		&saboteur{toCore: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeHello {
				if c, err := net.FileConn(f.files[0]); err == nil {
					_ = c.Close()
				}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return false
				}
				defer l.Close()
				if f.files[0], err = l.(*net.TCPListener).File(); err != nil {
					return false
				}
			}
			return true
		}},
		[]string{"descriptors/probe"},
	},
	{
		"hands over what was not granted", wire.RoleLink,
		&saboteur{only: "descriptors/not-granted", toPlug: change(wire.TypeHello, wire.FlagResponse, set("features", []string{"fdpass"}))},
		[]string{"descriptors/not-granted"},
	},
	{
		"hands two sockets over at once", wire.RoleLink,
		&saboteur{only: "descriptors/one-socket", toCore: handing(wire.TypeLink, func(f *frame) {
			f.files, f.FDs = append(f.files, f.files[0]), 2
		})},
		[]string{"descriptors/one-socket"},
	},
	{
		"shuts down what it has handed over", wire.RoleLink,
		&saboteur{only: "descriptors/let-go", toCore: handing(wire.TypeLink, func(f *frame) {
			withConn(f, func(c *net.TCPConn) { _ = c.CloseWrite() })
		})},
		[]string{"descriptors/let-go"},
	},
	{
		"keeps its copy", wire.RoleStream,
		new(holder).saboteur(),
		[]string{"descriptors/armed", "descriptors/let-go", "descriptors/refused"},
	},
	{
		"reads what it hands over", wire.RoleStream,
		&saboteur{toCore: handing(wire.TypeDial, func(f *frame) {
			withConn(f, func(c *net.TCPConn) {
				if c.SetReadDeadline(time.Now().Add(300*time.Millisecond)) == nil {
					_, _ = c.Read(make([]byte, 4))
				}
			})
		})},
		[]string{"descriptors/hand-off-bytes"},
	},
	{
		"does not arm what it hands over", wire.RoleStream,
		&saboteur{toCore: handing(wire.TypeAccept, func(f *frame) {
			withConn(f, func(c *net.TCPConn) { _ = c.SetLinger(-1) })
		})},
		[]string{"descriptors/armed"},
	},
	{
		"does not look at live links", wire.RoleLink,
		&saboteur{toPlug: change(wire.TypeConfig, 0, func(b map[string]any) { delete(item(b), "live") })},
		[]string{"descriptors/live"},
	},
	{
		"hears of no end", wire.RoleLink,
		&saboteur{toPlug: drop(wire.TypeClosed, 0)},
		[]string{"descriptors/closed", "descriptors/closed-early", "descriptors/live"},
	},
	{
		"takes what it has handed over for lost", wire.RoleLink,
		&saboteur{toPlug: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeLink && f.Flags == wire.FlagResponse && f.ID != 1 {
				f.Flags, f.body = wire.FlagResponse|wire.FlagError, map[string]any{"code": "gone", "class": "gone", "msg": "sabotage"}
			}
			return true
		}},
		[]string{"descriptors/closed"},
	},
	{
		"keeps what it hands over until its session ends, and ends it then", wire.RoleLink,
		&saboteur{endsHanded: true},
		[]string{"descriptors/let-go", "descriptors/live", "descriptors/outlives", "descriptors/refused"},
	},
	{
		"never takes what was kept", wire.RoleStream,
		&saboteur{toPlug: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeTake {
				f.Flags, f.FDs, f.files = wire.FlagResponse|wire.FlagError, 0, nil
				f.body = map[string]any{"code": "notfound", "class": "retry", "msg": "sabotage"}
			}
			return true
		}},
		[]string{"descriptors/keep", "descriptors/takeover", "restart/plug" + handedOver},
	},
	{
		"holds links, and what was refused of them", wire.RoleLink, new(holder).saboteur(),
		[]string{"descriptors/let-go", "descriptors/refused"},
	},
	{
		"hoards a link", wire.RoleLink, &saboteur{hoard: true},
		[]string{"link/back-pressure"},
	},
	{
		"hoards a stream", wire.RoleStream, &saboteur{hoard: true},
		[]string{"stream/back-pressure"},
	},
	{
		"does not look at CANCEL", wire.RoleStream,
		&saboteur{toPlug: drop(wire.TypeCancel, 0)},
		[]string{"stream/accept-cancel"},
	},
	{
		"does not look at the deadline of DRAIN", wire.RoleLink,
		&saboteur{toPlug: change(wire.TypeDrain, 0, set("deadline_ms", 0))},
		[]string{"session/drain-deadline"},
	},
	{
		"one process as another", wire.RoleStream,
		&saboteur{toCore: change(wire.TypeHello, 0, set("process", "p"))},
		[]string{"restart/plug", "restart/plug" + handedOver},
	},
}

const (
	// allAtOnce is how many checks run at a time: they mostly wait.
	allAtOnce = 64

	// patience is how long a check may take that passes, far more than it does.
	patience = 5 * time.Minute

	// inVain is how long one waits that fails.
	inVain = 30 * time.Second
)

func TestBrokenPlugsFail(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short is given: it waits for what never comes, again and again")
	}
	var running sync.WaitGroup
	turn := make(chan struct{}, allAtOnce)
	ports := new(check.Ports)
	for _, b := range slices.Concat(broken, brokenWorkers, brokenPackets) {
		program := b.plug.program
		if program == nil {
			program = goodPlug(b.role)
		}
		o := check.Options{Role: b.role, Start: inProcess(program, b.plug.dialer), Timeout: patience, Ports: ports, Work: units}
		for _, c := range check.Checks(b.role, check.Both, b.plug.only) {
			if much(c.ID) && !slices.Contains(b.fails, c.ID) {
				continue // much to carry, and nothing touches it
			}
			turn <- struct{}{}
			running.Go(func() {
				defer func() { <-turn }()
				want := b.fails == nil || slices.ContainsFunc(b.fails, func(id string) bool { return names(id, c) })
				o := o
				if want {
					o.Timeout = inVain
				}
				r := check.RunOne(t.Context(), o, c)
				want = want && (b.fails != nil || r.Outcome != check.Skip)
				if want != (r.Outcome == check.Fail) {
					t.Errorf("%s: that it fails is %v, but: %s", b.name, want, r)
				}
			})
		}
	}
	running.Wait()
}

// much says whether a check carries much, and so takes long.
func much(id string) bool {
	return strings.HasSuffix(id, "-bytes") || strings.HasSuffix(id, "/back-pressure")
}

// names says whether id, perhaps with handedOver, is that of c.
func names(id string, c check.Check) bool {
	switch {
	case id == handedOver:
		return c.Handoff
	case strings.HasPrefix(c.ID, "descriptors/") || strings.HasPrefix(c.ID, "worker/") || strings.HasPrefix(c.ID, "packet/") || c.ID == "authorisation/offer-back-off" || !c.Handoff:
		return id == c.ID
	default:
		return id == c.ID+handedOver
	}
}
