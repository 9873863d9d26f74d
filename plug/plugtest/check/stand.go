package check

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// bulk is what a path must carry unchanged each way.
	bulk = 16 << 20

	// flood is more than a path takes whose other end does not read: more than the
	// buffers of all sockets on it together.
	flood = 32 << 20

	// quiet is how long nothing must happen for it to count as not happening.
	quiet = 500 * time.Millisecond

	// turns is how many questions the plug answers meanwhile: of a busy machine time
	// alone does not say that it has had its turn.
	turns = 20

	// answerPatience is how long it may take for one, which takes far less.
	answerPatience = 5 * time.Second

	// redial is the pause between attempts to reach a plug's listener.
	redial = 20 * time.Millisecond
)

// The directions of kinds.
const (
	in  = "in"
	out = "out"
)

// farNode is the node at the other end of streams.
const farNode = "far"

// stand is what a check has around its plug: a core, and a medium.
type stand struct {
	*trial
	o        *Options
	handoff  bool // the core grants descriptors
	core     *plugtest.FakeCore
	talk     *plugtest.CoreSession // with the plug that has attached last; nil: none has
	kill     func()                // ends the plug that was run last, as kill -9 would
	services int                   // handed out so far, and units
	temp     string                // a directory of the check's own; empty: none yet
}

// prepare makes the core, which start starts. grant changes how it welcomes;
// nil: not at all.
func (s *stand) prepare(grant func(*wire.Welcome) error) {
	s.dir() // is there for longer than the plug
	s.core = plugtest.NewStopped(s.trial)
	s.core.FDPass = s.handoff
	s.core.Welcome = func(h wire.Hello) (wire.Welcome, error) {
		w, err := plugtest.Grant(h)
		if err == nil && grant != nil {
			err = grant(&w)
		}
		return w, err
	}
}

// start starts the core and runs the plug.
func (s *stand) start() {
	s.core.Start()
	s.run()
}

// run runs the plug; the check fails if that ends by itself, but for kill.
func (s *stand) run() {
	p, err := s.o.Start(s.ctx, s.core.Path())
	s.must(err, "start the plug")
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-p.Ended():
			s.cancel(errors.New("the plug has ended by itself"))
		case <-over:
		}
	}()
	killed := false
	s.Cleanup(func() {
		if killed {
			return
		}
		close(over)
		<-watched
		if err := p.Stop(); err != nil {
			s.Error(err)
		}
	})
	s.kill = func() {
		killed = true
		close(over)
		<-watched
		p.Kill()
	}
}

// session waits for a plug to attach.
func (s *stand) session() *plugtest.CoreSession {
	core := s.core.Session()
	s.talk = core
	switch {
	case !s.handoff || slices.Contains(core.Welcome.Features, wire.FeatureFDPass):
	case slices.Contains(core.Hello.Features, wire.FeatureFDPass):
		s.Fatalf("HELLO offers fdpass: expected its probe, a TCP socket, got none")
	default:
		s.skip("HELLO does not offer fdpass")
	}
	return core
}

// attach makes a core and a plug that is attached to it.
func (s *stand) attach() *plugtest.CoreSession {
	s.prepare(nil)
	s.start()
	return s.session()
}

// restart kills the core and brings it back; the plug attaches again.
func (s *stand) restart() *plugtest.CoreSession {
	s.core.Kill()
	s.core.Start()
	return s.session()
}

// away kills the core, and waits until the plug has seen it and tries to attach again.
func (s *stand) away() {
	s.core.Kill()
	l, err := net.Listen("unix", s.core.Path())
	s.must(err, "listen in the core's place")
	s.own(l)
	for seen := false; !seen; {
		c, err := l.Accept()
		s.must(err, "wait for the plug to attach again")
		p, f, err := firstOf(c)
		seen = err == nil && p.Kind == wire.ConnSession
		_, _ = f.Close(), c.Close()
	}
	s.must(l.Close(), "leave the core's place")
}

// own has c closed at the check's end, so that nothing waits for it longer.
func (s *stand) own(c io.Closer) {
	context.AfterFunc(s.ctx, func() { _ = c.Close() })
}

// datagrams says whether the medium is one of datagrams.
func (s *stand) datagrams() bool { return s.o.Medium == MediumUDP }

// plays says whether the medium is one that is played here.
func (s *stand) plays() bool { return s.o.Medium != MediumNone }

// item makes an item of direction dir whose medium is at addr.
func (s *stand) item(h wire.Hello, dir, addr string) wire.ConfigItem {
	use := s.use(dir)
	var kind *wire.Kind
	for i := range h.Kinds {
		k := &h.Kinds[i]
		if k.Role == s.o.Role && (use.Kind == k.Kind || use.Kind == "" && k.Dir == dir) {
			kind = k
			break
		}
	}
	switch {
	case kind == nil && use.Kind != "":
		s.Fatalf("HELLO claims no kind %s of role %s", use.Kind, s.o.Role)
	case kind == nil:
		s.skip("the plug has no kind of role %s and direction %s", s.o.Role, dir)
	}
	s.services++
	_, port, err := net.SplitHostPort(addr)
	s.must(err, "split "+addr)
	name := "check" + strconv.Itoa(s.services)
	fill := strings.NewReplacer("@PORT@", port, "@ADDR@", addr, "@NODE@", farNode, "@SERVICE@", name, "@DIR@", filepath.Join(s.dir(), name))
	raw := map[string]any{}
	byType := map[string]string{
		schema.TypePort: "@PORT@", schema.TypeAddress: "@ADDR@", schema.TypeNode: "@NODE@", schema.TypeService: "@SERVICE@",
		schema.TypePath: "@DIR@",
	}
	for _, p := range kind.Params {
		if v, ok := byType[p.Type]; ok && p.Required {
			raw[p.Name] = fill.Replace(v)
		} else if p.Name == "bindaddr" {
			raw[p.Name] = "127.0.0.1"
		}
	}
	for name, v := range use.Params {
		if text, ok := v.(string); ok {
			v = fill.Replace(text)
		}
		raw[name] = v
	}
	it, err := plugtest.ItemOf([]wire.Kind{*kind}, kind.Kind, raw)
	if err != nil {
		s.skip("no parameters for an item: %v", err)
	}
	if s.datagrams() && dir == in {
		it.Greeting = greetingMsg
	}
	return it
}

// use is how items of a direction are to be made; those of a worker have none.
func (s *stand) use(dir string) Item {
	switch dir {
	case in:
		return s.o.Listen
	case out:
		return s.o.Dial
	default:
		return s.o.Work.Item
	}
}

// freeAddr is a loopback address that nobody listens on.
func (s *stand) freeAddr() string {
	addr, err := s.o.Ports.free()
	s.must(err, "find a free port")
	return addr
}

// medium listens for the plug.
func (s *stand) medium() net.Listener {
	if s.datagrams() {
		return s.listenDatagrams()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err, "listen for the plug")
	s.own(l)
	return l
}

// listening configures one item of direction in and returns it with its address.
func (s *stand) listening(core *plugtest.CoreSession) (wire.ConfigItem, string) {
	addr := s.freeAddr()
	it := s.item(core.Hello, in, addr)
	s.configure(core, it)
	return it, addr
}

// configure sends CONFIG, which must be taken.
func (s *stand) configure(core *plugtest.CoreSession, items ...wire.ConfigItem) {
	if r := core.Configure(items...); len(r.Errors) > 0 {
		s.Fatalf("CONFIG: expected {}, got errors %+v", r.Errors)
	}
}

// connect connects to the plug's listener, once it is there.
func (s *stand) connect(addr string) mediumConn {
	if s.datagrams() {
		return s.connectDatagrams(addr)
	}
	for {
		c, err := new(net.Dialer).DialContext(s.ctx, "tcp", addr)
		if err == nil {
			return s.overTCP(c, true)
		}
		if s.ctx.Err() != nil {
			s.Fatalf("connect to the plug's listener at %s: %v", addr, err)
		}
		s.pause(redial)
	}
}

// accept waits until the plug connects.
func (s *stand) accept(l net.Listener) mediumConn {
	c, err := l.Accept()
	s.must(err, "wait for the plug to connect")
	return s.overTCP(c, false)
}

// overTCP is the medium's end of what runs over a connection that it has made, or
// accepted.
func (s *stand) overTCP(c net.Conn, made bool) mediumConn {
	s.own(c)
	if t, ok := c.(*net.TCPConn); ok && s.o.Medium == MediumWS {
		return s.webSocket(t, made)
	}
	return c.(mediumConn)
}

// dropWaiting closes connections that wait: those that a plug has made before it
// saw that its core was gone.
func (s *stand) dropWaiting(l net.Listener) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return // datagrams of earlier links are known as such
	}
	for {
		s.must(tcp.SetDeadline(time.Now().Add(quiet)), "set a deadline")
		c, err := l.Accept()
		if err != nil {
			break
		}
		_ = c.Close()
	}
	s.must(tcp.SetDeadline(time.Time{}), "set a deadline")
}

// bind waits for the BIND of an item.
func (s *stand) bind(core *plugtest.CoreSession, it wire.ConfigItem) wire.Bind {
	return core.WaitBind(paramOfType(core.Hello, it, schema.TypeService))
}

// paramOfType is the value of the item's first parameter of a type.
func paramOfType(h wire.Hello, it wire.ConfigItem, typ string) string {
	k := schema.Find(h.Kinds, it.Kind)
	for _, p := range k.Params {
		if p.Type == typ {
			return param(it, p.Name)
		}
	}
	return ""
}

// has says whether the plug has a kind for a direction.
func (s *stand) has(h wire.Hello, dir string) bool {
	named := s.use(dir).Kind
	for _, k := range h.Kinds {
		if k.Role == s.o.Role && (k.Dir == dir || named == k.Kind) {
			return true
		}
	}
	return false
}

// listens tells whether somebody listens at addr.
func (s *stand) listens(addr string) bool {
	network := MediumTCP
	if s.datagrams() {
		network = MediumUDP
	}
	c, err := net.DialTimeout(network, addr, quiet)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	if !s.datagrams() {
		return true
	}
	// The system says at once where nobody does.
	_, err = c.Write([]byte{typeReject})
	s.must(errors.Join(err, c.SetReadDeadline(time.Now().Add(quiet))), "send to the plug")
	_, err = c.Read(make([]byte, 1))
	return !errors.Is(err, syscall.ECONNREFUSED)
}

// comes tells whether ok says yes in a while: within d, and as long as the plug takes to
// answer some questions.
func (s *stand) comes(d time.Duration, ok func() bool) bool {
	for range turns {
		if ok() {
			return true
		}
		s.pause(d / turns)
		s.ask()
	}
	return ok()
}

// ask waits until the plug has answered a question. Of one that does not answer, or whose
// session is over, no more are asked: time has to do.
func (s *stand) ask() {
	if s.talk == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, answerPatience)
	defer cancel()
	if s.talk.Call(ctx, wire.TypePing, nil, nil) != nil {
		s.talk = nil
	}
}

// idle lets a while go by, in which the plug may do what it must not.
func (s *stand) idle() { s.comes(quiet, func() bool { return false }) }

// opensSoon is the next object that the plug opens in a while; nil: none.
func (s *stand) opensSoon() (o plugtest.Incoming, t wire.Type) {
	s.comes(quiet, func() bool {
		o, t = s.core.Opening(0)
		return o != nil
	})
	return o, t
}

// attempts fails where whoever is refused does not pause between attempts, of which next
// waits for one: where too many come in a time, or, on a machine too busy for so many, where
// the next is there each time before the plug has answered some questions.
func (s *stand) attempts(what string, next func(within time.Duration) bool) {
	const (
		window = 2 * time.Second
		most   = 40
	)
	for !next(quiet) {
		if s.ctx.Err() != nil {
			s.Fatalf("waited in vain for %s", what)
		}
	}
	n := 1
	for end := time.Now().Add(window); time.Now().Before(end); {
		if !next(time.Until(end)) {
			continue
		}
		if n++; n > most {
			s.Fatalf("%s, refused each time: expected pauses between attempts, got %d attempts within %v", what, n, window)
		}
	}
	for n = 0; s.comes(0, func() bool { return next(0) }); {
		if n++; n > most {
			s.Fatalf("%s, refused each time: expected pauses between attempts, got %d attempts before the plug has answered %d questions in one", what, n, turns)
		}
	}
}

// connectNow connects to a listener that must be there. What it takes, and resets
// in the same moment, does not count.
func (s *stand) connectNow(addr, when string) mediumConn {
	if s.datagrams() {
		return s.connectDatagrams(addr)
	}
	c, err := new(net.Dialer).DialContext(s.ctx, "tcp", addr)
	for errors.Is(err, syscall.ECONNRESET) {
		s.pause(redial)
		c, err = new(net.Dialer).DialContext(s.ctx, "tcp", addr)
	}
	if err != nil {
		s.Fatalf("listener %s: expected that it takes connections, got %v", when, err)
	}
	return s.overTCP(c, true)
}
