package legacy

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The recorded conversations, played with the model in the place of an existing
// node: it sends what that sent, and when.

// own is an update without what each node chooses for itself.
func own(t *testing.T, msg []byte) string {
	t.Helper()
	u, err := parseUpdate(msg)
	if err != nil {
		t.Fatal(err)
	}
	u.UpdateID = "ownID"
	return string(u.Append(nil))
}

// Vectors 01 and 02: each of the two nodes of the fresh link in turn. What it
// sent after its first message was due when it was sent.
func TestVectorFreshLink(t *testing.T) {
	t.Parallel()
	var first, later vectorFile
	readVector(t, "01-tcp-init-exchange.json", &first)
	readVector(t, "02-routing-updates.json", &later)
	messages := slices.Concat(first.Messages, later.Groups[0].Messages)
	for _, self := range []string{"alpha", "beta"} {
		t.Run(self, func(t *testing.T) {
			t.Parallel()
			p := player{t: t, self: self}
			for _, m := range messages {
				if m.Sender == self {
					p.sends(m)
				} else {
					p.receives(m)
				}
			}
			if p.sent < 5 {
				t.Errorf("%d messages sent", p.sent)
			}
		})
	}
}

// player is one end of a link, told what was recorded.
type player struct {
	t       *testing.T
	self    string
	peering peering
	routing *routing
	early   []vectorMessage // came before our first was sent
	sent    int
}

const (
	recordedLate  = 6 * time.Millisecond // nodes and recorder are busy
	recordedEarly = time.Millisecond
)

func (p *player) at(m vectorMessage) time.Time {
	return time.Unix(1_795_364_000, 0).Add(time.Duration(m.TMs * float64(time.Millisecond)))
}

func (p *player) receives(m vectorMessage) {
	if p.routing == nil {
		p.early = append(p.early, m)
		return
	}
	switch v := p.peering.receive(p.at(m), m.Message); {
	case v.established:
		p.routing.linked(p.at(m), p.peering.peer, p.peering.cost)
	case v.route == nil:
		p.t.Errorf("at %v ms: %+v", m.TMs, v)
	case p.routing.receive(p.at(m), v.route).forward == nil:
		p.t.Errorf("at %v ms: ignored", m.TMs)
	}
}

func (p *player) sends(m vectorMessage) {
	at := p.at(m)
	if p.routing == nil {
		u, err := parseUpdate(m.Message)
		if err != nil {
			p.t.Fatal(err)
		}
		p.routing = newRouting(p.self, u.UpdateEpoch, names{}, at)
		p.peering = peering{self: p.self, idle: minIdle, linked: func(string) bool { return false }}
		if !p.peering.start(at).introduce {
			p.t.Error("nothing is sent at first")
		}
	} else {
		due := p.routing.floodAt
		if late := at.Sub(due); late > recordedLate || late < -recordedEarly {
			p.t.Errorf("sent at %v ms, %v after it was due", m.TMs, late)
		}
		if at.Before(due) {
			at = due
		}
		if !p.routing.tick(at) {
			p.t.Errorf("nothing is due at %v ms", m.TMs)
		}
	}
	p.sent++
	if got, want := own(p.t, p.routing.update(0).Append(nil)), own(p.t, m.Message); got != want {
		p.t.Errorf("at %v ms sends\n%s, recorded\n%s", m.TMs, got, want)
	}
	for _, m := range p.early {
		p.receives(m)
	}
	p.early = nil
}

// Vectors 02, 03 and 04: what delta, a middle node, relayed, forwarded and
// answered.
func TestVectorMiddleNode(t *testing.T) {
	t.Parallel()
	var updates, ads, data vectorFile
	readVector(t, "02-routing-updates.json", &updates)
	readVector(t, "03-service-advertisements.json", &ads)
	readVector(t, "04-data-ping-traceroute-unreachable.json", &data)
	synctest.Test(t, func(t *testing.T) {
		delta := start(t, Config{ID: "delta"})
		left, right := attach(t, delta, "left", LinkConfig{}), attach(t, delta, "right", LinkConfig{})
		time.Sleep(time.Second)
		quiet := func() {
			synctest.Wait()
			for _, l := range []*tool{left, right} {
				l.take(typeRouting)
				l.take(typeAdvert)
				l.take(typeData)
			}
		}
		quiet()
		relayed := updates.Groups[2]
		left.send(relayed.In[0].Message)
		synctest.Wait()
		expectMessages(t, "relayed update", right.take(typeRouting), relayed.Out)
		duplicate := updates.Groups[3]
		left.send(duplicate.In[0].Message)
		synctest.Wait()
		expectMessages(t, "relayed suspicion", right.take(typeRouting), duplicate.Out)

		time.Sleep(time.Second)
		quiet()
		ours := updates.Groups[4]
		delta.mu.Lock()
		var said Update
		decode(t, ours.Out[0].Message[1:], &said)
		delta.routing.own = origin{said.UpdateEpoch, said.UpdateSequence - 1}
		delta.mu.Unlock()
		left.send(ours.In[0].Message)
		synctest.Wait()
		for _, l := range []*tool{left, right} {
			got := l.take(typeRouting)
			if len(got) != 1 || own(t, got[0]) != own(t, ours.Out[0].Message) {
				t.Errorf("our name in use: %s was told %q, expected %q", l.name, got, ours.Out[0].Message)
			}
		}

		// An existing node relays even the second Cancel, for ever in a cycle: that
		// the model does not is on purpose.
		relay := ads.Groups[2]
		for _, m := range relay.In {
			right.send(m.Message)
		}
		synctest.Wait()
		expectMessages(t, "relayed advertisements", left.take(typeAdvert), relay.Out[:2])

		forwarding := data.Groups[3]
		// The recorded messages are for left, from far and right.
		for _, m := range forwarding.In {
			right.send(m.Message)
		}
		synctest.Wait()
		expectMessages(t, "forwarded data", left.take(typeData), forwarding.Out)
		notices := data.Groups[2]
		right.send((&message{hops: 0, from: Hash("right"), to: Hash("far"), fromService: "rsvc", toService: "fsvc"}).Append(nil))
		right.send((&message{hops: 5, from: Hash("right"), to: Hash("delta"), fromService: "rsvc", toService: "nosuch"}).Append(nil))
		synctest.Wait()
		expectMessages(t, "notices", right.take(typeData), notices.Messages)
	})
}

func expectMessages(t *testing.T, what string, got [][]byte, want []vectorMessage) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(g []byte, w vectorMessage) bool { return bytes.Equal(g, w.Message) }) {
		t.Errorf("%s: sent %q, recorded", what, got)
		for _, w := range want {
			t.Errorf("%q", w.Message)
		}
	}
}

// Vectors 04 and 08: what a node sent when it was asked to ping and to dial, and
// what it answered.
func TestVectorPingAndDial(t *testing.T) {
	t.Parallel()
	var pings, dials vectorFile
	readVector(t, "04-data-ping-traceroute-unreachable.json", &pings)
	readVector(t, "08-quic-in-data-messages.json", &dials)
	synctest.Test(t, func(t *testing.T) {
		beta := start(t, Config{ID: "beta"})
		alpha := attach(t, beta, "alpha", LinkConfig{})
		time.Sleep(time.Second)
		requests, answers := split(pings.Groups[0].Messages, "alpha")
		for _, m := range requests {
			alpha.send(m.Message)
		}
		synctest.Wait()
		expectMessages(t, "answers to pings", alpha.take(typeData), answers)

		// beta as alpha: what it sends is what alpha sent, but for names.
		go beta.Ping(t.Context(), "alpha", maxHops)
		synctest.Wait()
		sameHeader(t, "ping", alpha.take(typeData), answers[0].Message, "beta", "alpha", "ping")
		go beta.Dial(t.Context(), "alpha", "control", nil)
		synctest.Wait()
		dialled := alpha.take(typeData)
		sameHeader(t, "dial", dialled, dials.Messages[0].Message, "beta", "alpha", "control")
		payload := dialled[0][messageHeader:]
		if recorded := dials.Messages[0].Message[messageHeader:]; payload[0]&0xf0 != recorded[0]&0xf0 || !bytes.Equal(payload[1:5], recorded[1:5]) {
			t.Errorf("the packet starts with %x, recorded %x", payload[:5], recorded[:5])
		}
	})
}

func split(messages []vectorMessage, sender string) (of, others []vectorMessage) {
	for _, m := range messages {
		if m.Sender == sender {
			of = append(of, m)
		} else {
			others = append(others, m)
		}
	}
	return of, others
}

func sameHeader(t *testing.T, what string, got [][]byte, recorded []byte, from, to, service string) {
	t.Helper()
	if len(got) == 0 {
		t.Fatalf("%s: nothing was sent", what)
	}
	m, err := parseMessage(got[0])
	if err != nil {
		t.Fatal(err)
	}
	if m.from != Hash(from) || m.to != Hash(to) || m.toService != service || got[0][1] != recorded[1] || len(got[0]) != len(recorded) ||
		!regexp.MustCompile(`^[0-9a-zA-Z]{8}$`).MatchString(m.fromService) {
		t.Errorf("%s: sent %x, recorded %x", what, got[0], recorded)
	}
}

// Vector 10: the request for a WebSocket, and the answer, but for the key.
func TestVectorWebSocket(t *testing.T) {
	t.Parallel()
	var v struct{ WebSocket []struct{ Hex hexBytes } }
	readVector(t, "10-websocket-and-udp-init.json", &v)
	recordedRequest, recordedAnswer := string(v.WebSocket[0].Hex), string(v.WebSocket[1].Hex)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := start(t, Config{ID: "u3"})
	if _, err := n.DialWebSocket("ws://"+l.Addr().String()+"/mesh", http.Header{"X-Thing": {"some value"}}, LinkConfig{}, nil, false); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := readHead(t, bufio.NewReader(conn))
	same := func(text string) string {
		text = strings.ReplaceAll(text, l.Addr().String(), "127.0.0.1:38044")
		return regexp.MustCompile(`(Key|Accept): \S+`).ReplaceAllString(text, "$1: x")
	}
	if got, want := same(request), same(recordedRequest); got != want {
		t.Errorf("asks\n%q, recorded\n%q", got, want)
	}

	b, err := n.ListenWebSocket("127.0.0.1:0", "/mesh", LinkConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", b.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := strings.ReplaceAll(recordedRequest, "127.0.0.1:38044", b.Addr.String())
	if _, err := client.Write([]byte(ask)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(client)
	if got := readHead(t, in); got != recordedAnswer { // the key is the recorded one
		t.Errorf("answers\n%q, recorded\n%q", got, recordedAnswer)
	}
	// Then at once who we are, in one binary message.
	if op, err := in.ReadByte(); err != nil || op != 0x82 {
		t.Errorf("the first frame starts with %x, %v", op, err)
	}
}

func readHead(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		head.WriteString(line)
	}
	return head.String()
}
