package integration

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// hubAndLeaf is two nodes with a link from leaf to hub, and an echo behind the hub
// that the leaf has an entry to.
type hubAndLeaf struct {
	way
	t *testing.T
}

// linkItems are those of a link's two ends.
type linkItems struct{ hub, leaf []string }

// startHubAndLeaf starts both; change, if not nil, has the command of the leaf.
func startHubAndLeaf(t *testing.T, items linkItems, change func(*exec.Cmd)) *hubAndLeaf {
	t.Helper()
	l, ctx := newLab(t)
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	t.Cleanup(echo.Close)
	entry := freePort(t)
	h := &hubAndLeaf{way{l, ctx, lab.Local(entry)}, t}
	_, err = l.Start("receptor", append([]string{"--node", "id=hub", "--tcp-client", "service=app", "address=" + echo.Addr()}, items.hub...)...)
	must(t, err)
	_, err = l.StartAs(change, "receptor", append([]string{
		"--node", "id=leaf", "--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(entry), "remotenode=hub", "remoteservice=app",
	}, items.leaf...)...)
	must(t, err)
	return h
}

// expectTraffic carries something through, and says what the link is at one end.
func (h *hubAndLeaf) expectTraffic(node string) lab.Link {
	h.t.Helper()
	must(h.t, h.WaitRoute(h.ctx, "leaf", "hub"))
	must(h.t, lab.WaitRoundTrip(h.ctx, h.entry))
	b := startBulk(h.ctx, h.t, h.entry)
	for b.Bytes.Load() < 4<<20 {
		must(h.t, lab.Pause(h.ctx, pause))
	}
	b.end(h.t)
	s, err := h.Status(h.ctx, node)
	must(h.t, err)
	if len(s.Links) != 1 {
		h.t.Fatalf("%s has the links %+v", node, s.Links)
	}
	return s.Links[0]
}

// Models of existing nodes at both ends of a line of ours, which is of WebSockets.
func TestLegacyOverWebSocket(t *testing.T) {
	t.Parallel()
	m := newMixed(t)
	ab, bc, cd := freePort(t), freePort(t), freePort(t)
	m.ours("b", "--ws-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(ab), "path=/mesh")
	m.ours("c", "--ws-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(bc), "--ws-peer", "ws://"+lab.Local(cd)+"/any/where")
	m.ours("b2", "--ws-peer", "ws://"+lab.Local(bc))
	a, d := m.model(legacy.Config{ID: "a"}), m.model(legacy.Config{ID: "d"})
	_, err := d.ListenWebSocket(lab.Local(cd), "", legacy.LinkConfig{}, nil)
	must(t, err)
	for _, port := range []int{ab, bc} { // a is what joins b to the others
		_, err = a.DialWebSocket("ws://"+lab.Local(port)+"/mesh", http.Header{"X-Thing": {"some value"}}, legacy.LinkConfig{}, nil, true)
		must(t, err)
	}
	must(t, m.WaitRoute(m.ctx, "b", "a", "b2", "c", "d"))
	m.reaches(a, "b", "c", "d")
	m.reaches(d, "a", "b", "b2")
	m.pings(a, "d", "c")
	m.pings(d, "b", "c", "a")
	m.pingsFrom("b", "d", "a", "c")
	m.pingsFrom("b2", "b", "c", "a")
}

// Over wss nodes prove who they are, as over TCP with TLS.
func TestWebSocketTLS(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	port := strconv.Itoa(freePort(t))
	of := func(node string, nodes ...string) []string {
		f := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: append(nodes, node)})
		return profiles(f)
	}
	h := startHubAndLeaf(t, linkItems{
		hub:  append(of("hub"), "--ws-listener", "bindaddr=127.0.0.1", "port="+port, "tls=s"),
		leaf: append(of("leaf"), "--ws-peer", "address=wss://localhost:"+port, "tls=c"),
	}, nil)
	for _, node := range []string{"hub", "leaf"} {
		if l := h.expectTraffic(node); l.Authentication != "certificate" || l.Mode != "relay" || !strings.HasPrefix(l.TLS, "of the plug: ") {
			t.Errorf("%s: link %+v", node, l)
		}
	}
	// Whose certificate names another gets nowhere.
	liar := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"honest"}})
	_, err := h.Start("receptor", append([]string{"--node", "id=liar"}, append(profilesOf(liar, "skipreceptornamescheck=true"),
		"--ws-peer", "address=wss://localhost:"+port, "tls=c")...)...)
	must(t, err)
	must(t, h.WaitStatus(h.ctx, "hub", func(s *lab.Status) bool { return s.Counters["tls_wrong_name"] > 0 }))
	s, err := h.Status(h.ctx, "hub")
	must(t, err)
	if s.RoutingTable["liar"] != "" {
		t.Errorf("there is a way to a liar: %v", s.RoutingTable)
	}
	h.expectTraffic("leaf")
}

// greet makes a WebSocket to a listener of the test, and gets its first message.
func greet(ctx context.Context, address string) error {
	ws, resp, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+address, nil)
	if err != nil {
		return err
	}
	defer ws.Close()
	resp.Body.Close()
	if d, ok := ctx.Deadline(); ok {
		ws.SetReadDeadline(d)
	}
	_, _, err = ws.ReadMessage()
	return err
}

// The plug that listens is stopped, replaced and killed under traffic: nobody who
// connects is refused, and the links are there again.
func TestReplacedWebSocketBackend(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t)
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	defer echo.Close()
	port, entry := freePort(t), freePort(t)
	_, err = l.Start("receptor-core", "--node", "id=hub", "--ws-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(port),
		"--tcp-client", "service=app", "address="+echo.Addr())
	must(t, err)
	_, err = l.Start("receptor-proxy-tcp", "--socket", l.PlugSocket("hub"))
	must(t, err)
	backend, err := l.Start("receptor-backend-ws", "--socket", l.PlugSocket("hub"))
	must(t, err)
	_, err = l.Start("receptor", "--node", "id=leaf", "--ws-peer", "ws://"+lab.Local(port),
		"--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode=hub", "remoteservice=app")
	must(t, err)
	must(t, l.WaitRoute(ctx, "leaf", "hub"))
	must(t, lab.WaitRoundTrip(ctx, lab.Local(entry)))

	stop, refused := make(chan struct{}), make(chan []string, 1)
	go func() { // connections only: what is accepted by a plug that is killed is lost
		var all []string
		for {
			select {
			case <-stop:
				refused <- all
				return
			default:
			}
			c, err := new(net.Dialer).DialContext(ctx, "tcp", lab.Local(port))
			if err != nil {
				all = append(all, err.Error())
				continue
			}
			c.Close()
			if lab.Pause(ctx, pause) != nil { // many at once would crowd out whoever is slower
				all = append(all, "the time is over")
			}
		}
	}()
	again := func(more ...string) {
		t.Helper()
		backend, err = l.Start("receptor-backend-ws", append([]string{"--socket", l.PlugSocket("hub")}, more...)...)
		must(t, err)
		pid := backend.PID()
		must(t, l.WaitStatus(ctx, "hub", func(s *lab.Status) bool {
			return slices.ContainsFunc(s.Plugs, func(p lab.Plug) bool { return p.PID == pid })
		}))
	}
	w := &way{l, ctx, lab.Local(entry)}
	for _, how := range []string{"stop", "takeover", "kill"} {
		c := w.dial(t) // a stream that stands meanwhile
		switch old := backend; how {
		case "stop":
			must(t, old.Stop())
			again()
		case "takeover":
			again("--takeover")
			must(t, old.Stop())
		case "kill":
			old.Kill()
			again()
		}
		must(t, greet(ctx, lab.Local(port)))
		must(t, lab.WaitRoundTrip(ctx, lab.Local(entry)))
		// The mesh had no way for a moment, and the stream is there.
		_, err := io.WriteString(c, how)
		must(t, err)
		got := make([]byte, len(how))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != how {
			t.Errorf("%s: the stream said %q, %v", how, got, err)
		}
	}
	close(stop)
	if all := <-refused; len(all) > 0 {
		t.Errorf("%d connections were refused: %s", len(all), all[0])
	}
}
