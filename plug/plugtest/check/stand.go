package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// bulk is what a path must carry unchanged each way.
	bulk = 16 << 20

	// quiet is how long nothing must happen for it to count as not happening.
	quiet = 500 * time.Millisecond

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
	core     *plugtest.FakeCore
	services int // handed out so far
}

// prepare makes the core, which start starts. grant changes how it welcomes;
// nil: not at all.
func (s *stand) prepare(grant func(*wire.Welcome) error) {
	s.core = plugtest.NewStopped(s.trial)
	s.core.Welcome = func(h wire.Hello) (wire.Welcome, error) {
		w, err := plugtest.Grant(h)
		w.Features = nil // all is relayed
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

// run runs the plug.
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
	s.Cleanup(func() {
		close(over)
		<-watched
		if err := p.Stop(); err != nil {
			s.Error(err)
		}
	})
}

// attach makes a core and a plug that is attached to it.
func (s *stand) attach() *plugtest.CoreSession {
	s.prepare(nil)
	s.start()
	return s.core.Session()
}

// restart kills the core and brings it back; the plug attaches again.
func (s *stand) restart() *plugtest.CoreSession {
	s.core.Kill()
	s.core.Start()
	return s.core.Session()
}

// away kills the core and gives the plug the time to see it.
func (s *stand) away() {
	s.core.Kill()
	s.pause(quiet)
}

// own has c closed at the check's end, so that nothing waits for it longer.
func (s *stand) own(c io.Closer) {
	context.AfterFunc(s.ctx, func() { _ = c.Close() })
}

// item makes an item of direction dir whose medium is at addr.
func (s *stand) item(h wire.Hello, dir, addr string) wire.ConfigItem {
	use := s.o.Listen
	if dir == out {
		use = s.o.Dial
	}
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
	fill := strings.NewReplacer("@PORT@", port, "@ADDR@", addr, "@NODE@", farNode, "@SERVICE@", "check"+strconv.Itoa(s.services))
	raw := map[string]any{}
	byType := map[string]string{
		schema.TypePort: "@PORT@", schema.TypeAddress: "@ADDR@", schema.TypeNode: "@NODE@", schema.TypeService: "@SERVICE@",
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
	values, errs := schema.Check(kind, kind.Kind, kind.Kind, raw)
	if len(errs) > 0 {
		s.skip("no parameters for an item: %v", errors.Join(errs...))
	}
	return plugtest.NewItem(s.trial, schema.Identity(kind, values), kind.Kind, values)
}

// freeAddr is a loopback address that nobody listens on.
func (s *stand) freeAddr() string {
	addr, err := s.o.Ports.free()
	s.must(err, "find a free port")
	return addr
}

// medium listens for the plug.
func (s *stand) medium() net.Listener {
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
func (s *stand) connect(addr string) *net.TCPConn {
	for {
		c, err := new(net.Dialer).DialContext(s.ctx, "tcp", addr)
		if err == nil {
			s.own(c)
			return c.(*net.TCPConn)
		}
		if s.ctx.Err() != nil {
			s.Fatalf("connect to the plug's listener at %s: %v", addr, err)
		}
		s.pause(redial)
	}
}

// accept waits until the plug connects.
func (s *stand) accept(l net.Listener) *net.TCPConn {
	c, err := l.Accept()
	s.must(err, "wait for the plug to connect")
	s.own(c)
	return c.(*net.TCPConn)
}

// pipe is a link or a stream through the plug.
type pipe struct {
	medium *net.TCPConn
	core   net.Conn // of a stream: *recordconn.Conn
}

// incoming waits for the data connection that a connection to a listener brings about.
func (s *stand) incoming() *plugtest.DataConn {
	if s.o.Role == wire.RoleStream {
		return s.core.DialRequest()
	}
	return s.core.Link()
}

// opened answers a data connection.
func (s *stand) opened(d *plugtest.DataConn) net.Conn {
	var c net.Conn
	if s.o.Role == wire.RoleStream {
		c = d.OpenStream("o1")
	} else {
		c = d.OpenLink("o1")
	}
	s.own(c)
	return c
}

// open makes a pipe through a listener.
func (s *stand) open(addr string) pipe {
	m := s.connect(addr)
	return pipe{m, s.opened(s.incoming())}
}

// openOut makes a pipe through an item that connects to l: a link, or a stream
// that arrives for the service of a bind.
func (s *stand) openOut(core *plugtest.CoreSession, it wire.ConfigItem, l net.Listener) pipe {
	if s.o.Role == wire.RoleLink {
		m := s.accept(l)
		return pipe{m, s.opened(s.core.Link())}
	}
	bind := s.bind(core, it)
	m, done := s.offer(core, bind.Bind, "object", l)
	s.must(wait(s.trial, done, "the answer to ACCEPT"), "ACCEPT")
	return pipe{m, s.opened(s.core.Attach())}
}

// offer sends ACCEPT and waits for the plug at the medium. done gets the answer.
func (s *stand) offer(core *plugtest.CoreSession, bind, object string, l net.Listener) (*net.TCPConn, <-chan error) {
	done := make(chan error, 1)
	go func() {
		done <- core.Accept(s.ctx, bind, object, wire.RemoteAddr{Node: farNode, Service: "client"})
	}()
	return s.accept(l), done
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

// both runs f with a pipe through an item of each direction that the plug has.
func (s *stand) both(f func(pipe)) {
	core := s.attach()
	tried := false
	if s.has(core.Hello, in) {
		_, addr := s.listening(core)
		f(s.open(addr))
		tried = true
	}
	select {
	case <-core.Done(): // f has killed it
		s.core.Start()
		core = s.core.Session()
	default:
	}
	if s.has(core.Hello, out) {
		l := s.medium()
		it := s.item(core.Hello, out, l.Addr().String())
		s.configure(core, it)
		f(s.openOut(core, it, l))
		tried = true
	}
	if !tried {
		s.skip("the plug has no kind of role %s with a direction", s.o.Role)
	}
}

// has says whether the plug has a kind for a direction.
func (s *stand) has(h wire.Hello, dir string) bool {
	named := s.o.Listen.Kind
	if dir == out {
		named = s.o.Dial.Kind
	}
	for _, k := range h.Kinds {
		if k.Role == s.o.Role && (k.Dir == dir || named == k.Kind) {
			return true
		}
	}
	return false
}

// exchange checks that a pipe carries bytes both ways.
func (s *stand) exchange(p pipe) {
	s.pass("from the medium to the core", p.core, p.medium)
	s.pass("from the core to the medium", p.medium, p.core)
}

func (s *stand) pass(what string, to io.Reader, from io.Writer) {
	const text = "\x05\x00hello"
	_, err := io.WriteString(from, text)
	s.must(err, "write "+what)
	got := make([]byte, len(text))
	n, err := io.ReadFull(to, got)
	if err != nil || string(got) != text {
		s.Fatalf("%s: expected %q, got %q, %v", what, text, got[:n], err)
	}
}

// sendBulk and checkBulk carry the same pseudo-random bytes.
func sendBulk(w io.Writer, seed byte) error {
	_, err := io.CopyN(w, rand.NewChaCha8([32]byte{seed}), bulk)
	return err
}

func checkBulk(r io.Reader, seed byte) error {
	want := rand.NewChaCha8([32]byte{seed})
	var a, b [32 << 10]byte
	for at := 0; at < bulk; at += len(a) {
		if n, err := io.ReadFull(r, a[:]); err != nil {
			return fmt.Errorf("expected %d bytes, got %d: %w", bulk, at+n, err)
		}
		if _, err := want.Read(b[:]); err != nil {
			return err
		}
		if !bytes.Equal(a[:], b[:]) {
			return fmt.Errorf("expected the bytes as they were sent, got others between %d and %d", at, at+len(a))
		}
	}
	return nil
}

// carryBulk checks that a pipe carries much, both ways at once.
func (s *stand) carryBulk(p pipe) {
	errs := make(chan error, 4)
	say := func(what string, err error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
		errs <- err
	}
	go func() { say("write to the medium", sendBulk(p.medium, 1)) }()
	go func() { say("write to the core", sendBulk(p.core, 2)) }()
	go func() { say("from the medium to the core", checkBulk(p.core, 1)) }()
	go func() { say("from the core to the medium", checkBulk(p.medium, 2)) }()
	for range 4 {
		s.must(wait(s.trial, errs, "16 MiB each way"), "carry 16 MiB each way")
	}
}

// ends waits until c ends, in whatever way.
func (s *stand) ends(c net.Conn, what string) error {
	_, err := io.Copy(io.Discard, c)
	if s.ctx.Err() != nil {
		s.Fatalf("%s: expected that it ends, it does not", what)
	}
	return err
}

// endsCleanly waits for an end that is one.
func (s *stand) endsCleanly(c net.Conn, what string) {
	if err := s.ends(c, what); err != nil {
		s.Fatalf("%s: expected a clean end, got %v", what, err)
	}
}

// isReset waits for an end that nobody takes for a clean one.
func (s *stand) isReset(c net.Conn, what string) {
	err := s.ends(c, what)
	if r := (*recordconn.ResetError)(nil); errors.As(err, &r) && r.Code == wire.CodeInvalid {
		s.Fatalf("%s: expected a reset, got a breach of the protocol: %v", what, err)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		if err == nil {
			err = errors.New("a clean end")
		}
		s.Fatalf("%s: expected a reset, got %v", what, err)
	}
}

// attempts counts how often next returns true in a while, and fails where that
// is too often: whoever is refused pauses between attempts.
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
}

// connectNow connects to a listener that must be there.
func (s *stand) connectNow(addr, when string) *net.TCPConn {
	c, err := new(net.Dialer).DialContext(s.ctx, "tcp", addr)
	if err != nil {
		s.Fatalf("listener %s: expected that it takes connections, got %v", when, err)
	}
	s.own(c)
	return c.(*net.TCPConn)
}
