package integration

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// Links whose ends agree about the cost come up with it; others never do, and
// who may not be a neighbour is refused.
func TestLegacyCostsAndRejects(t *testing.T) {
	for _, c := range []struct {
		name     string
		ours     []string // parameters of our item
		model    legacy.LinkConfig
		cost     float64 // of the link; 0: refused
		reject   bool    // by ours, and the model hears of it
		listener bool    // only those have such parameters
	}{
		{"costs agree", []string{"cost=2.5"}, legacy.LinkConfig{Cost: 2.5}, 2.5, false, false},
		{"costs differ", []string{"cost=1"}, legacy.LinkConfig{Cost: 2}, 0, false, false},
		{"our cost for that node", []string{"cost=1", `nodecost={"model":3}`}, legacy.LinkConfig{Cost: 3}, 3, false, true},
		{"the model's cost for our node", []string{"cost=4"}, legacy.LinkConfig{NodeCost: map[string]float64{"ours": 4}}, 4, false, false},
		{"allowed by both", []string{"allowedpeers=model"}, legacy.LinkConfig{AllowedPeers: []string{"ours"}}, 1, false, false},
		{"not allowed by the model", nil, legacy.LinkConfig{AllowedPeers: []string{"other"}}, 0, false, false},
		{"not allowed by ours", []string{"allowedpeers=other"}, legacy.LinkConfig{}, 0, true, false},
	} {
		for _, weDial := range []bool{true, false} {
			if weDial && c.listener {
				continue
			}
			t.Run(fmt.Sprintf("%s, we dial %v", c.name, weDial), func(t *testing.T) {
				m := newMixed(t)
				port := freePort(t)
				n := m.model(legacy.Config{ID: "model"})
				if weDial {
					m.listen(n, port, c.model)
					m.ours("ours", dials(port, c.ours...)...)
				} else {
					m.ours("ours", listens(port, c.ours...)...)
					n.DialTCP(lab.Local(port), c.model, nil, true)
				}
				if c.cost == 0 {
					m.eventually("refused twice", func() bool { return m.script.Notes("ended: ") > 1 })
					if got := n.Neighbours(); len(got) > 0 && c.model.Cost == 0 {
						t.Errorf("the model is linked: %v", got)
					}
					if rejected := m.script.Notes(legacy.ErrRejected.Error()) > 0; c.reject && !rejected {
						t.Error("the model never heard that it was rejected")
					}
					return
				}
				must(t, m.WaitRoute(m.ctx, "ours", "model"))
				m.reaches(n, "ours")
				m.pings(n, "ours")
				m.pingsFrom("ours", "model")
				if got := n.Neighbours()["ours"]; got != c.cost {
					t.Errorf("the link costs %v, expected %v", got, c.cost)
				}
			})
		}
	}
}

// A link on which nothing comes any more ends on both sides, after 21 s at the
// earliest.
func TestLegacyIdle(t *testing.T) {
	m := newMixed(t)
	port := freePort(t)
	ours := m.ours("ours", listens(port)...)
	n := m.model(legacy.Config{ID: "model"})
	conn, err := lab.DialWait(m.ctx, lab.Local(port))
	must(t, err)
	mute := &muteSession{Session: legacy.NewFramed(conn), muted: make(chan struct{}), over: make(chan struct{})}
	done := n.AddLink(mute, legacy.LinkConfig{})
	must(t, m.WaitRoute(m.ctx, "ours", "model"))
	m.reaches(n, "ours")
	silent := time.Now()
	close(mute.muted)
	must(t, m.WaitStatus(m.ctx, "ours", func(s *lab.Status) bool { return s.RoutingTable["model"] == "" }))
	// Something may have come up to ten seconds before, and it is not looked at at once.
	if took := time.Since(silent); took < 11*time.Second {
		t.Errorf("ours ended the link after %v", took)
	}
	must(t, ours.WaitOutput(m.ctx, "idle"))
	select {
	case <-done:
	case <-m.ctx.Done():
		t.Error("the model never ended the link")
	}
	if m.script.Notes(legacy.ErrIdle.Error()) != 1 {
		t.Error("the model's link did not end for being idle")
	}
}

// muteSession loses everything from when it is muted, without an end.
type muteSession struct {
	legacy.Session
	muted, over chan struct{}
}

func (s *muteSession) Send(msg []byte) error {
	select {
	case <-s.muted:
		return nil
	default:
		return s.Session.Send(msg)
	}
}

func (s *muteSession) Receive() ([]byte, error) {
	msg, err := s.Session.Receive()
	select {
	case <-s.muted:
		<-s.over
		return nil, io.EOF
	default:
		return msg, err
	}
}

func (s *muteSession) Close() error {
	close(s.over)
	return nil // the other end must find out by itself; the lab ends its process
}

// A model that filters stops just what its rules say.
func TestLegacyFirewall(t *testing.T) {
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	m := newMixed(t)
	left, right, blocked, open := freePort(t), freePort(t), freePort(t), freePort(t)
	entry := func(port int, service string) []string {
		return []string{"--tcp-server", "bindaddr=127.0.0.1", fmt.Sprintf("port=%d", port), "remotenode=c", "remoteservice=" + service}
	}
	m.ours("a", append(append(listens(left), entry(blocked, "no")...), entry(open, "yes")...)...)
	m.ours("c", append(listens(right), "--tcp-client", "service=no", "address="+app.Addr(), "--tcp-client", "service=yes", "address="+app.Addr())...)
	b := m.model(legacy.Config{ID: "b", Firewall: []legacy.Rule{
		{Action: "drop", ToService: "no"},
		{Action: "Reject", FromNode: "a", ToNode: "/[c-z]/", ToService: "ping"},
	}})
	b.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
	b.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)
	must(t, m.WaitRoute(m.ctx, "a", "b", "c"))
	must(t, m.WaitRoute(m.ctx, "c", "a", "b"))
	must(t, m.WaitStatus(m.ctx, "c", func(s *lab.Status) bool { return s.Item("tcp-client service=yes").State == "up" }))

	if _, err := m.Ctl(m.ctx, "a", "ping", "--count", "1", "c"); err == nil || !strings.Contains(err.Error(), "blocked by firewall") {
		t.Errorf("a ping that the model rejects: %v", err)
	}
	m.pingsFrom("c", "a", "b")
	must(t, lab.RoundTrip(m.ctx, lab.Local(open)))
	conn, err := lab.DialWait(m.ctx, lab.Local(blocked))
	must(t, err)
	defer conn.Close()
	expectReset(t, conn)
	must(t, lab.RoundTrip(m.ctx, lab.Local(open)))
}

// Advertisements, both ways through each other, and the control conversation.
func TestLegacyAdverts(t *testing.T) {
	m := newMixed(t)
	left, right := freePort(t), freePort(t)
	m.ours("a", append(listens(left), "--tcp-client", "service=app", "address=127.0.0.1:1", "--control-service", "service=control")...)
	m.ours("c", listens(right)...)
	b := m.model(legacy.Config{ID: "b", WorkCommands: []legacy.WorkCommand{{WorkType: "echo"}, {WorkType: "signed", Secure: true}}})
	b.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
	b.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)
	m.reaches(b, "a", "c")
	_, err := b.ServeControl("control", nil)
	must(t, err)
	pc, err := b.ListenPacket("udp")
	must(t, err)
	pc.Advertise(legacy.ConnDatagram, map[string]string{"type": "UDP Proxy", "address": "127.0.0.1:5"}, nil)

	for _, node := range []string{"a", "c"} {
		must(t, m.WaitStatus(m.ctx, node, func(s *lab.Status) bool {
			control, udp := s.Advertisement("b", "control"), s.Advertisement("b", "udp")
			return control.Tags["type"] == "Control Service" && len(control.WorkCommands) == 2 && control.WorkCommands[1].Secure &&
				udp.ConnType == legacy.ConnDatagram && udp.Tags["address"] == "127.0.0.1:5"
		}))
	}
	// What a tells of its own comes to b, and through b to c.
	var app legacy.Advert
	m.eventually("the model hears of our service", func() bool {
		for _, ad := range b.Adverts() {
			if ad.NodeID == "a" && ad.Service == "app" {
				app = ad
			}
		}
		return app.Service != ""
	})
	if app.ConnType != legacy.ConnStream || app.Tags["type"] != "TCP Proxy" || app.Tags["address"] != "127.0.0.1:1" {
		t.Errorf("our service is advertised as %+v", app)
	}
	must(t, m.WaitStatus(m.ctx, "c", func(s *lab.Status) bool { return s.Advertisement("a", "app").Tags["type"] == "TCP Proxy" }))

	// Each asks the other.
	must(t, m.WaitRoute(m.ctx, "a", "b"))
	local, err := net.Dial("unix", m.Socket("a"))
	must(t, err)
	defer local.Close()
	deadline, _ := m.ctx.Deadline()
	local.SetDeadline(deadline)
	converse(t, local.(*net.UnixConn), "connect b control\nping c\n",
		"Receptor Control, node a\nConnecting\nReceptor Control, node b\n{\"From\":\"c\",")
	s, err := b.Dial(m.ctx, "a", "control", nil)
	must(t, err)
	defer s.Close()
	converse(t, s, "ping c\n", "Receptor Control, node a\n{\"From\":\"c\",")
}

// converse says something and expects the answer to start so.
func converse(t *testing.T, c halfCloser, say, want string) {
	t.Helper()
	_, err := io.WriteString(c, say)
	must(t, err)
	must(t, c.CloseWrite())
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), want) {
		t.Errorf("%q was answered by %q, %v, expected %q", say, answer, err, want)
	}
}
