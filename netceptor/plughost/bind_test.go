package plughost

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

func TestBind(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Policy: Policy{Rules: []Rule{{Roles: map[string]RoleRule{
		wire.RoleStream: {Bind: []string{"web*", ""}}, wire.RoleLink: {},
	}}}}})
	p, other := r.attach("proxy", tcpServer()), r.attach("other", wire.Kind{Kind: "other", Role: wire.RoleStream})
	links := r.attach("backend", tcpListener())
	taken, err := r.node.Listen("webtaken", netceptor.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()

	for _, tc := range []struct {
		name string
		plug *plugtest.FakePlug
		req  wire.Bind
		code string // empty: it works
		text string // of the error, or the service
	}{
		{"first", p, wire.Bind{Bind: "b", Service: "web"}, "", "web"},
		{"again", p, wire.Bind{Bind: "b", Service: "web"}, "", "web"},
		{"another service", p, wire.Bind{Bind: "b", Service: "web2"}, wire.CodeExists, "UNBIND it first"},
		{"other tags", p, wire.Bind{Bind: "b", Service: "web", Advertise: true}, wire.CodeExists, "in another way"},
		{"service of another bind", p, wire.Bind{Bind: "c", Service: "web"}, wire.CodeExists, `"web" is in use`},
		{"service of another plug", other, wire.Bind{Bind: "c", Service: "web"}, wire.CodeExists, `"web" is in use`},
		{"bind of another plug", other, wire.Bind{Bind: "b", Service: "web"}, wire.CodeExists, "held by proxy"},
		{"service of the node", p, wire.Bind{Bind: "d", Service: "webtaken"}, wire.CodeExists, `"webtaken" is in use`},
		{"policy", p, wire.Bind{Bind: "d", Service: "ssh"}, wire.CodeDenied, `service "ssh"`},
		{"long", p, wire.Bind{Bind: "d", Service: "webweb789"}, wire.CodeInvalid, "longer than 8"},
		{"no name", p, wire.Bind{Service: "web3"}, wire.CodeInvalid, "needs a name"},
		{"tags", p, wire.Bind{Bind: "d", Service: "web3", Tags: map[string]string{"k": strings.Repeat("x", maxTags)}}, wire.CodeLimit, "tags"},
		{"item of nobody", p, wire.Bind{Bind: "d", Item: "x", Service: "web3"}, wire.CodeDenied, "has no item"},
		{"not the role", links, wire.Bind{Bind: "d", Service: "web3"}, wire.CodeDenied, "role stream"},
		{"unbound by another changes nothing", p, wire.Bind{Bind: "b", Service: "web"}, "", "web"},
	} {
		bound, err := tc.plug.Bind(t.Context(), tc.req)
		if tc.code != "" {
			if err == nil {
				t.Fatalf("%s: bound %q", tc.name, bound.Service)
			}
			wantError(t, err, tc.code, tc.text)
		} else if err != nil || bound.Service != tc.text {
			t.Fatalf("%s: %q, %v", tc.name, bound.Service, err)
		}
	}
	if err := other.Unbind(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Bind(t.Context(), wire.Bind{Bind: "x", Service: "web"}); err == nil {
		t.Fatal("another plug has unbound it")
	}
	if err := p.Unbind(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Bind(t.Context(), wire.Bind{Bind: "b", Service: "web"}); err != nil {
		t.Fatalf("the service is not free at once: %v", err)
	}
	bound, err := p.Bind(t.Context(), wire.Bind{Bind: "fresh"})
	if err != nil || len(bound.Service) != 8 {
		t.Fatalf("fresh service %q, %v", bound.Service, err)
	}
}

func TestBindsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	p := r.attach("proxy", tcpServer())
	for range maxBinds {
		if _, err := p.Bind(t.Context(), wire.Bind{Bind: rand8()}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := p.Bind(t.Context(), wire.Bind{Bind: "one more"})
	wantError(t, err, wire.CodeLimit, "at most")
}

// A stream that arrives while the plug restarts waits for it.
func TestBindOutlivesItsSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	client := r.attach("client", wire.Kind{Kind: "client", Role: wire.RoleStream})
	server := r.attach("server", tcpServer())
	bind := wire.Bind{Bind: "b", Service: "svc", Tags: map[string]string{"a": "b"}}
	if _, err := server.Bind(t.Context(), bind); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 1 })
	dialled := make(chan error, 1)
	var c *recordconn.Conn
	go func() {
		var err error
		c, err = client.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "svc"})
		dialled <- err
	}()
	r.eventually("the stream to wait", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.binds[bindKey{userKey(me()), "b"}].pending) == 1
	})
	server = r.attach("server", tcpServer())
	if _, err := server.Bind(t.Context(), bind); err != nil {
		t.Fatal(err)
	}
	far, err := server.Attach(t.Context(), server.NextAccept().Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	patient(t, c, far)
	write(t, c, []byte("x"))
	readFull(t, far, 1)
	end(t, c)
	end(t, far)
	readAll(t, c)
	readAll(t, far)

	// It comes back once more, with another service under the same name.
	server.Kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 1 })
	server = r.attach("server", tcpServer())
	if b, err := server.Bind(t.Context(), wire.Bind{Bind: "b", Service: "other"}); err != nil || b.Service != "other" {
		t.Fatalf("%+v, %v", b, err)
	}
	if _, err := server.Bind(t.Context(), wire.Bind{Bind: "c", Service: "svc"}); err != nil {
		t.Fatalf("the old service is not free: %v", err)
	}
}

// A plug that has taken a stream and dies before it comes for it leaves it to
// the next.
func TestStreamSurvivesThePlugThatWasAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	client := r.attach("client", wire.Kind{Kind: "client", Role: wire.RoleStream})
	server := r.attach("server", tcpServer())
	bind := wire.Bind{Bind: "b", Service: "svc"}
	if _, err := server.Bind(t.Context(), bind); err != nil {
		t.Fatal(err)
	}
	dialled := make(chan error, 1)
	go func() {
		c, err := client.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "svc"})
		if err == nil {
			err = c.Close()
		}
		dialled <- err
	}()
	first := server.NextAccept()
	server.Kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 1 })
	server = r.attach("server", tcpServer())
	if _, err := server.Bind(t.Context(), bind); err != nil {
		t.Fatal(err)
	}
	second := server.NextAccept()
	if second.Object == first.Object {
		t.Error("an object's name was used twice")
	}
	if _, err := server.Attach(t.Context(), first.Object); err == nil {
		t.Error("attached to a stream of a session before")
	}
	c, err := server.Attach(t.Context(), second.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	if _, err := server.Attach(t.Context(), second.Object); err == nil {
		t.Error("attached twice")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// The times of binds and heartbeats, by a clock that jumps.
func TestTimes(t *testing.T) {
	t.Parallel()
	t.Run("bind lingers", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newHostOnly(t, "alpha", Config{})
			p := r.attach("proxy", tcpServer())
			if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"}); err != nil {
				t.Fatal(err)
			}
			p.Kill()
			synctest.Wait()
			time.Sleep(wire.BindLinger - time.Nanosecond)
			synctest.Wait()
			if r.bindCount() != 1 {
				t.Error("the bind has gone too early")
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if r.bindCount() != 0 {
				t.Error("the bind is still there")
			}
			if l, err := r.node.Listen("svc", netceptor.ListenOptions{}); err != nil {
				t.Error(err)
			} else if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("ACCEPT is not answered", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newHostOnly(t, "alpha", Config{})
			p := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{
				Hello:    plugtest.Hello("mute", tcpServer()),
				OnAccept: func(ctx context.Context, _ wire.Accept) error { <-ctx.Done(); return ctx.Err() },
			})
			if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err := r.node.Dial(t.Context(), "alpha", "svc")
			if e := dialError(err, "alpha", "svc"); e.Code != wire.CodeRefused {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d < wire.RequestTimeout || d > wire.RequestTimeout+time.Second {
				t.Errorf("refused after %v", d)
			}
		})
	})
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newHostOnly(t, "alpha", Config{})
			r.SetItems([]Item{{Kind: "tcp-server", Params: map[string]any{"port": 1}}})
			p := r.attach("proxy", tcpServer())
			if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"}); err != nil {
				t.Fatal(err)
			}
			p.Status(wire.ItemStatus{Item: "tcp-server port=1", State: wire.StateUp})
			synctest.Wait()
			r.mu.Lock()
			g := r.guestNamed("proxy")
			r.mu.Unlock()
			g.setStalled(true) // what the session tells after three intervals: tested there
			if s := r.Plugs()[0].State; s != "stalled" {
				t.Errorf("state %q", s)
			}
			r.itemIs(0, "degraded", "proxy does not answer")
			_, err := r.node.Dial(t.Context(), "alpha", "svc")
			if e := dialError(err, "alpha", "svc"); e.Code != wire.CodeRefused {
				t.Errorf("a stalled plug was asked: %v", err)
			}
			g.setStalled(false)
			r.itemIs(0, "up", "")
			if s := r.Plugs()[0].State; s != "attached" {
				t.Errorf("state %q", s)
			}
		})
	})
	t.Run("draining", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newHostOnly(t, "alpha", Config{})
			p := r.attach("proxy", tcpServer())
			if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"}); err != nil {
				t.Fatal(err)
			}
			if err := p.Call(t.Context(), wire.TypeDrain, wire.Drain{}, nil); err != nil {
				t.Fatal(err)
			}
			if s := r.Plugs()[0].State; s != "draining" {
				t.Errorf("state %q", s)
			}
			if _, err := r.node.Dial(t.Context(), "alpha", "svc"); err == nil {
				t.Error("a draining plug was asked")
			}
		})
	})
}

func (r *rig) bindCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.binds)
}
