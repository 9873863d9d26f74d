package plughost

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

func TestItemsOfNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{
		{Kind: "WS-Peer", Label: "node.yml:3: WS-Peer"},
		{Kind: "serial-peer"},
		listenerItem(2222),
	})
	for i, want := range []ItemStatus{
		{Item: "node.yml:3: WS-Peer", Kind: "ws-peer", State: "waiting", Err: "waiting for a plug that claims ws-peer: install receptor-backend-ws"},
		{Item: "serial-peer", Kind: "serial-peer", State: "waiting", Err: "waiting for a plug that claims serial-peer"},
		{Item: "tcp-listener port=2222", Kind: "tcp-listener", State: "waiting", Err: "waiting for a plug that claims tcp-listener: install receptor-backend-tcp"},
	} {
		if got := r.Items()[i]; got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
	p := r.attach("backend-tcp", tcpListener())
	r.itemIs(2, "waiting", "waiting for backend-tcp to report")
	p.Kill()
	r.itemIs(2, "waiting", "waiting for a plug that claims tcp-listener: receptor-backend-tcp has gone")
	r.eventually("a line in the log", func() bool { return strings.Contains(r.log.String(), `has gone"`) })
	r.SetItems([]Item{listenerItem(2222)})
	r.SetItems([]Item{listenerItem(2222), listenerItem(2223)})
	r.eventually("the next line in the log", func() bool { return strings.Contains(r.log.String(), "2223") })
	for text, want := range map[string]int{
		`port=2222" state=waiting error="waiting for a plug that claims tcp-listener: receptor-backend-tcp has gone"`: 1,
		`item=serial-peer state=waiting`: 1,
	} {
		if n := strings.Count(r.log.String(), text); n != want {
			t.Errorf("logged %d times, want %d: %s\n%s", n, want, text, r.log)
		}
	}
}

func TestConfigFlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	item := listenerItem(2222)
	item.Params["Cost"] = "2.5"
	item.Params["nodecost"] = map[string]any{"beta": 3}
	item.Params["allowedpeers"] = "beta"
	r.SetItems([]Item{item, {Kind: "TCP-Inbound-Proxy", Params: map[string]any{"port": "0x10"}}})
	p := r.attach("tcp", tcpListener(), tcpServer())

	c := p.WaitConfig("two items", func(c wire.Config) bool { return len(c.Items) == 2 })
	for i, want := range []string{
		`{tcp-listener port=2222 tcp-listener {"bindaddr":"0.0.0.0","port":2222}}`,
		`{tcp-server port=16 tcp-server {"bindaddr":"localhost","port":16}}`,
	} {
		if got := fmt.Sprintf("{%s %s %s}", c.Items[i].Item, c.Items[i].Kind, c.Items[i].Params); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	p.Status(
		wire.ItemStatus{Item: "tcp-listener port=2222", State: wire.StateUp, Addr: "0.0.0.0:2222"},
		wire.ItemStatus{Item: "tcp-server port=16", State: "dancing", Err: "line\nbreak"},
		wire.ItemStatus{Item: "somebody else's", State: wire.StateUp},
	)
	if s := r.itemIs(0, "up", ""); s.Addr != "0.0.0.0:2222" || s.Plug != "tcp" || s.Item != "tcp-listener port=2222" {
		t.Errorf("status %+v", s)
	}
	r.itemIs(1, "degraded", "unknown state dancing line break")

	// A change of policy parameters is no business of the plug.
	item = listenerItem(2222)
	r.SetItems([]Item{item, {Kind: "tcp-server", Params: map[string]any{"port": 17}}})
	c2 := p.WaitConfig("port 17", func(c wire.Config) bool { return len(c.Items) == 2 && c.Items[1].Item == "tcp-server port=17" })
	if c2.Revision <= c.Revision {
		t.Errorf("revision %d after %d", c2.Revision, c.Revision)
	}
	r.itemIs(0, "up", "")
	r.itemIs(1, "waiting", "waiting for tcp to report")
	item.Params["cost"] = 9
	r.SetItems([]Item{item})
	c3 := p.WaitConfig("one item", func(c wire.Config) bool { return len(c.Items) == 1 })
	item.Params["cost"] = 10
	r.SetItems([]Item{item})
	r.SetItems(nil)
	if c4 := p.WaitConfig("no item", func(c wire.Config) bool { return len(c.Items) == 0 }); c4.Revision != c3.Revision+1 {
		t.Errorf("a change of cost was sent: revisions %d, %d", c3.Revision, c4.Revision)
	}
}

func TestItemMistakes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	twice := listenerItem(2222)
	twice.Label = "node.yml:7: tcp-listener"
	r.SetItems([]Item{
		{Kind: "tcp-listener", Label: "tcp-listener port=x", Params: map[string]any{"port": "x", "colour": "red"}},
		listenerItem(2222),
		twice,
		{Kind: "tcp-listener", Label: "tcp-listener port=1 cost=-1", Params: map[string]any{"port": 1, "cost": -1}},
	})
	p := r.attach("tcp", tcpListener())
	p.WaitConfig("one item", func(c wire.Config) bool {
		return len(c.Items) == 1 && c.Items[0].Item == "tcp-listener port=2222"
	})
	r.itemIs(0, "failed", "tcp-listener port=x: ")
	r.itemIs(0, "failed", "colour")
	r.itemIs(2, "failed", "same as tcp-listener port=2222")
	r.itemIs(3, "failed", "cost")
	p.Status(wire.ItemStatus{Item: "tcp-listener port=2222", State: wire.StateUp})
	r.itemIs(1, "up", "")
}

// A plug that refuses one item of a set gets the set without it: the others work.
func TestPlugRefusesAnItem(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{listenerItem(80), listenerItem(2222)})
	p := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{
		Hello: plugtest.Hello("tcp", tcpListener()),
		OnConfig: func(c wire.Config) (res wire.ConfigResult, err error) {
			for _, it := range c.Items {
				if it.Item == "tcp-listener port=80" {
					res.Errors = append(res.Errors,
						wire.ItemError{Item: it.Item, Param: "port", Msg: "is privileged"},
						wire.ItemError{Item: "nonsense", Msg: "ignored"})
				}
			}
			return res, nil
		},
	})
	p.WaitConfig("the good item alone", func(c wire.Config) bool {
		return len(c.Items) == 1 && c.Items[0].Item == "tcp-listener port=2222"
	})
	r.itemIs(0, "failed", "port: is privileged")
	r.itemIs(1, "waiting", "to report")

	// With other parameters it is tried again.
	changed := listenerItem(80)
	changed.Params["bindaddr"] = "127.0.0.1"
	r.SetItems([]Item{changed})
	r.itemIs(0, "failed", "port: is privileged")
	r.SetItems([]Item{listenerItem(81)})
	p.WaitConfig("port 81", func(c wire.Config) bool {
		return len(c.Items) == 1 && c.Items[0].Item == "tcp-listener port=81"
	})
}

func TestPlugRefusesConfig(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{listenerItem(80)})
	plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{
		Hello:    plugtest.Hello("tcp", tcpListener()),
		OnConfig: func(wire.Config) (wire.ConfigResult, error) { return wire.ConfigResult{}, errors.New("no mood") },
	})
	r.itemIs(0, "waiting", "tcp did not take its configuration: internal: no mood")
	if err := r.Plugs()[0].Err; !strings.Contains(err, "no mood") {
		t.Errorf("plug's error %q", err)
	}
}

func TestKnownProgramsAreComplete(t *testing.T) {
	t.Parallel()
	for program, kinds := range programs {
		for _, kind := range kinds {
			if !isName(kind) || !strings.HasPrefix(program, "receptor-") || ProgramFor(kind) != program {
				t.Errorf("%q: %q, found as %q", kind, program, ProgramFor(kind))
			}
		}
	}
}

// Items that accept links come with a greeting, which is an update about this node
// that lists nobody, and another in each CONFIG; others have none.
func TestGreeting(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{listenerItem(1), {Kind: "tcp-peer", Params: map[string]any{"address": "localhost:1"}}})
	p := r.attach("links", tcpListener(), tcpPeer())
	var greetings []string
	for n := 2; n <= 3; n++ {
		c := p.WaitConfig(fmt.Sprint(n, " items"), func(c wire.Config) bool { return len(c.Items) == n })
		for _, it := range c.Items {
			if (it.Kind == "tcp-listener") != (len(it.Greeting) > 0) {
				t.Errorf("%s has the greeting %q", it.Item, it.Greeting)
			}
		}
		greetings = append(greetings, string(c.Items[0].Greeting))
		r.SetItems([]Item{listenerItem(1), listenerItem(2), {Kind: "tcp-peer", Params: map[string]any{"address": "localhost:1"}}})
	}
	if greetings[0] == greetings[1] {
		t.Error("the greeting is the same, and would be taken for news that was heard before")
	}
	var u struct {
		NodeID, ForwardingNode string
		Connections            map[string]float64
	}
	if err := json.Unmarshal([]byte(greetings[0][1:]), &u); err != nil || greetings[0][0] != 1 {
		t.Fatalf("greeting %q: %v", greetings[0], err)
	}
	if u.NodeID != "alpha" || u.ForwardingNode != "alpha" || len(u.Connections) > 0 {
		t.Errorf("greeting %q", greetings[0])
	}
}

// What a plug counts is shown, within bounds.
func TestPlugCounters(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	p := r.attach("counts", tcpListener())
	said := map[string]uint64{strings.Repeat("a", 1000): 7}
	for i := range 2 * maxCounters {
		said[fmt.Sprintf("b%03d", i)] = uint64(i)
	}
	if err := p.Notify(wire.TypeStatus, wire.Status{State: wire.StateUp, Counters: said}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the counters are shown", func() bool { return len(r.Plugs()[0].Counters) == maxCounters })
	shown := r.Plugs()[0].Counters
	for name, n := range shown {
		if len(name) > maxText+10 || n != said[name] && n != 7 {
			t.Errorf("%q is %d", name, n)
		}
	}
}
