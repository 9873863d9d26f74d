package plughost

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

func observerHello(name string) wire.Hello {
	h := plugtest.Hello(name)
	h.Roles = []wire.RoleVersions{{Role: wire.RoleObserve, Versions: []int{1}}}
	return h
}

// An observer sees which plugs are attached, and of which processes.
func TestLook(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Digest: "d1"})
	r.SetItems([]Item{listenerItem(1)})
	o := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{Hello: observerHello("launcher")})
	tcp := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{Hello: plugtest.Hello("tcp", tcpListener(), tcpPeer())})
	look := func() (l wire.Looked) {
		if err := o.Call(t.Context(), wire.TypeLook, struct{}{}, &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := look()
	if l.Items != "d1" || len(l.Plugs) != 2 || l.Plugs[0].Name != "launcher" || len(l.Plugs[0].Kinds) != 0 {
		t.Fatalf("%+v", l)
	}
	p := l.Plugs[1]
	if p.Name != "tcp" || p.Program != "receptor-tcp" || !slices.Equal(p.Kinds, []string{"tcp-listener", "tcp-peer"}) {
		t.Errorf("%+v", p)
	}
	if runtime.GOOS == "linux" && (p.PID != os.Getpid() || p.UID != int64(os.Getuid())) {
		t.Errorf("user %d and process %d, expected %d and %d", p.UID, p.PID, os.Getuid(), os.Getpid())
	}
	tcp.Close(nil)
	r.eventually("the plug to be gone", func() bool { return len(look().Plugs) == 1 })
}

// Whoever was not granted the role sees nothing.
func TestLookNeedsItsRole(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Policy: Policy{Rules: []Rule{{Roles: map[string]RoleRule{wire.RoleLink: {}}}}}})
	for _, hello := range []wire.Hello{plugtest.Hello("tcp", tcpListener()), observerHello("launcher")} {
		p := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{Hello: hello})
		err := p.Call(t.Context(), wire.TypeLook, struct{}{}, nil)
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeDenied {
			t.Errorf("%s: %v, expected denied", hello.Name, err)
		}
	}
}
