//go:build unix

package plughost

import (
	"context"
	"os"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// A newer process of a plug takes over from a live one: nothing is refused in
// between, and the older one finishes what it carries.
func TestTakeover(t *testing.T) {
	t.Parallel()
	const item = "tcp-listener port=1"
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{listenerItem(1)})
	kinds := []wire.Kind{tcpListener(), tcpServer()}
	older := r.attachGiver("plug", nil, kinds...)
	older.configured(item)
	older.keepIt(item, "a")
	bind := wire.Bind{Bind: "b", Service: "svc"}
	if err := older.Call(t.Context(), wire.TypeBind, bind, nil); err != nil {
		t.Fatal(err)
	}
	other, f := tcpPair(t)
	link, err := older.give(wire.TypeLink, wire.Link{Item: item, Dir: "in", Remote: "r"}, f)
	if err != nil {
		t.Fatal(err)
	}

	far, f := tcpPair(t)
	hello := plugtest.Hello("plug", kinds...)
	hello.Takeover = true
	newer := r.attachHello(hello, func(context.Context, wire.Accept) (any, error) {
		return session.Answer{Files: []*os.File{f}}, nil
	})
	if len(newer.welcome.Kinds) != 0 {
		t.Errorf("refused %+v", newer.welcome.Kinds)
	}
	if d := plugtest.Receive(t, older.drains, "DRAIN"); d.DeadlineMS <= 0 || d.Reason == "" {
		t.Errorf("DRAIN %+v", d)
	}
	if live := newer.configured(item).Live; len(live) != 1 || live[0].Object != link {
		t.Errorf("live %+v", live)
	}
	if kept, err := newer.take(item, "a"); err != nil {
		t.Error(err)
	} else {
		_ = kept.Close()
	}

	// A stream that comes before the newer one has bound its service waits.
	near, dialled := tcpPair(t)
	opened := make(chan error, 1)
	go func() {
		_, err := newer.give(wire.TypeDial, wire.Dial{Node: "alpha", Service: "svc"}, dialled)
		opened <- err
	}()
	r.eventually("the stream to arrive", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, b := range r.binds {
			return len(b.pending) == 1
		}
		return false
	})
	wantError(t, older.Call(t.Context(), wire.TypeBind, bind, nil), wire.CodeDraining, "taken over")
	if err := newer.Call(t.Context(), wire.TypeBind, bind, nil); err != nil {
		t.Fatal(err)
	}
	if err := plugtest.Receive(t, opened, "the stream"); err != nil {
		t.Fatal(err)
	}

	if n := len(older.configs); n != 0 {
		t.Errorf("%d more CONFIG for the older process: it would drop what it carries", n)
	}
	older.kill()
	r.eventually("the older process to be gone", func() bool { return len(r.Plugs()) == 1 })
	patient(t, near, far)
	go sendAll(t, near, []byte("hello"))
	wantAll(t, far, []byte("hello"))
	sendAll(t, far, nil)
	wantAll(t, near, nil)
	_ = other.Close()
	if c := plugtest.Receive(t, newer.closed, "CLOSED"); c.Object != link {
		t.Errorf("CLOSED %+v", c)
	}
}

// Without takeover, or for another user, the name is taken.
func TestTakeoverRefused(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "alpha", Config{Policy: Policy{Rules: []Rule{{}}}})
	r.attach("plug", tcpListener())
	hello := plugtest.Hello("plug", tcpListener())
	_, err := plugtest.TryAttachPlug(t, r.dial, plugtest.PlugOptions{Hello: hello})
	wantError(t, err, wire.CodeExists, "plug")
	stranger := me()
	stranger.UID++
	hello.Takeover = true
	_, err = plugtest.TryAttachPlug(t, r.dialAs(stranger), plugtest.PlugOptions{Hello: hello})
	wantError(t, err, wire.CodeExists, "plug")
}
