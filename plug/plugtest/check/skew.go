package check

import (
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

func skewChecks() []Check {
	return []Check{
		{ID: "skew/unknown-fields", About: "fields and features that are not known are ignored, in WELCOME, CONFIG and answers", run: skewFields},
		{ID: "skew/major", About: "a core of another major is tried again later", run: skewMajor},
		{ID: "skew/hello-refused", About: "a refused HELLO is tried again later", run: skewRefused},
		{ID: "skew/role-refused", About: "a plug whose role and kinds are refused goes on", run: skewRole},
	}
}

func skewFields(s *stand) {
	s.prepare(func(w *wire.Welcome) error {
		w.Features = append(w.Features, "from-the-future")
		w.Roles = append(w.Roles, wire.RoleGrant{Role: "future", Version: 7})
		w.Kinds = append(w.Kinds, wire.KindRefusal{Kind: "future-kind", Refused: "receptor-plugcheck"})
		return nil
	})
	s.core.Extra = map[string]any{"future": map[string]any{"x": []int{1, 2}}}
	s.start()
	core := s.session()
	addr := s.freeAddr()
	if s.o.Role == wire.RolePacket {
		s.skewPackets(core)
		return
	}
	if !s.has(core.Hello, in) {
		s.configure(core, s.eitherItem(core))
		return
	}
	it := s.item(core.Hello, in, addr)
	fields := map[string]any{"item": it.Item, "kind": it.Kind, "params": it.Params, "live": []any{}, "future": 1}
	if len(it.Greeting) > 0 {
		fields["greeting"] = it.Greeting
	}
	config := map[string]any{"revision": 1, "future": true, "items": []any{fields}}
	var r wire.ConfigResult
	s.must(core.Call(s.ctx, wire.TypeConfig, config, &r), "CONFIG with fields that are not known")
	if len(r.Errors) > 0 {
		s.Fatalf("CONFIG with fields that are not known: expected {}, got %+v", r.Errors)
	}
	if s.plays() {
		s.exchange(s.open(addr))
	}
}

func skewMajor(s *stand) {
	s.prepare(nil)
	var refused atomic.Bool
	s.core.OnConn = func(c net.Conn) bool {
		if !refused.CompareAndSwap(false, true) {
			return false
		}
		own := []byte(wire.Magic + "\x07\x01\x00\x00")
		_, _ = c.Write(append(own, plugtest.Frame(wire.TypeError, 0, 0, `{"code":"version","class":"never","msg":"another major","majors":[6,7]}`)...))
		_, _ = io.CopyN(io.Discard, c, wire.PreambleSize) // so that nothing is lost by closing
		_ = c.Close()
		return true
	}
	s.start()
	s.configure(s.session())
}

func skewRefused(s *stand) {
	var refused atomic.Bool
	s.prepare(func(*wire.Welcome) error {
		if refused.CompareAndSwap(false, true) {
			return &wire.Error{Code: "from-the-future", Class: "from-the-future", Msg: "receptor-plugcheck refuses it"}
		}
		return nil
	})
	s.start()
	s.configure(s.session())
}

func skewRole(s *stand) {
	refuse := true
	s.prepare(func(w *wire.Welcome) error {
		for i := range w.Roles {
			if refuse {
				w.Roles[i] = wire.RoleGrant{Role: w.Roles[i].Role, Refused: "receptor-plugcheck refuses it"}
			}
		}
		return nil
	})
	s.start()
	core := s.session()
	select {
	case <-core.Done(): // it may leave, and come again
	default:
		err := core.Call(s.ctx, wire.TypeConfig, wire.Config{Revision: 1, Items: []wire.ConfigItem{}}, nil)
		if refused := (*wire.Error)(nil); errors.As(err, &refused) {
			s.Fatalf("CONFIG without items: expected {}, got %v", err)
		}
	}
	s.core.Kill()
	refuse = false
	s.core.Start()
	s.configure(s.session())
}
