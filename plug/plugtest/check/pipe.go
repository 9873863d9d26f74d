package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// pipe is a link or a stream through the plug.
type pipe struct {
	medium mediumConn // nil: it is not played here
	core   net.Conn   // of a stream: *recordconn.Conn
}

// incoming waits for the LINK or DIAL that a connection brings about: with the
// session's descriptors where these are granted and the plug hands over.
func (s *stand) incoming() plugtest.Incoming {
	for s.ctx.Err() == nil {
		if o, t := s.core.Opening(quiet); o != nil {
			s.expected(o, t)
			return o
		}
		s.must(s.core.Breach(), "descriptors")
	}
	s.Fatalf("waited in vain for %s", s.opens())
	return nil
}

// opens is what opens an object of the role.
func (s *stand) opens() wire.Type {
	if s.o.Role == wire.RoleStream {
		return wire.TypeDial
	}
	return wire.TypeLink
}

// expected checks that a message which opens an object may come here, and so.
func (s *stand) expected(o plugtest.Incoming, t wire.Type) {
	if t != s.opens() {
		s.Fatalf("expected %s, got %s", s.opens(), t)
	}
	if _, handed := o.(*plugtest.HandedOver); handed && !s.handoff {
		s.Fatalf("%s without the feature fdpass: expected it on a data connection, got it with a socket", t)
	}
}

// opened answers LINK, DIAL or ATTACH.
func (s *stand) opened(o plugtest.Incoming) net.Conn {
	const object = "o1"
	var c net.Conn
	switch o := o.(type) {
	case *plugtest.HandedOver:
		c = o.Open(object)
	case *plugtest.DataConn:
		if c = o.OpenLink(object); s.o.Role == wire.RoleStream {
			c = recordconn.New(c)
		}
	}
	s.own(c)
	if s.datagrams() {
		s.begin(o, c)
	}
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
		return pipe{m, s.opened(s.incoming())}
	}
	m, done := s.offer(core, s.bind(core, it).Bind, "object", l)
	return pipe{m, s.accepted(done)}
}

// answer is that to ACCEPT: a socket, or none, and ATTACH follows.
type answer struct {
	sock net.Conn
	err  error
}

// offer sends ACCEPT and waits for the plug at the medium.
func (s *stand) offer(core *plugtest.CoreSession, bind, object string, l net.Listener) (mediumConn, <-chan answer) {
	done := make(chan answer, 1)
	go func() { done <- s.sendAccept(core, bind, object) }()
	if !s.plays() {
		return nil, done
	}
	return s.accept(l), done
}

func (s *stand) sendAccept(core *plugtest.CoreSession, bind, object string) (a answer) {
	body := wire.Accept{Bind: bind, Object: object, Remote: wire.RemoteAddr{Node: farNode, Service: "client"}}
	files, err := core.CallFiles(s.ctx, wire.TypeAccept, body, nil, nil)
	switch {
	case err != nil:
		return answer{err: err}
	case len(files) == 0:
		return answer{}
	}
	a.sock, a.err = core.Conn(files)
	if a.err == nil && !s.handoff {
		_ = a.sock.Close()
		a.err = errors.New("the answer has a socket, without the feature fdpass")
	}
	return a
}

// accepted is the core's end of a stream that was offered.
func (s *stand) accepted(done <-chan answer) net.Conn {
	a := wait(s.trial, done, "the answer to ACCEPT")
	s.must(a.err, "ACCEPT")
	if a.sock == nil {
		return s.opened(s.core.Attach())
	}
	s.own(a.sock)
	return a.sock
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
		core = s.session()
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

// exchange checks that a pipe carries bytes both ways, as far as its ends are here.
func (s *stand) exchange(p pipe) {
	if p.medium == nil {
		return
	}
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
func sendBulk(w io.Writer, seed byte, size int64) error {
	_, err := io.CopyN(w, rand.NewChaCha8([32]byte{seed}), size)
	return err
}

func checkBulk(r io.Reader, seed byte, size int) error {
	want := rand.NewChaCha8([32]byte{seed})
	var a, b [32 << 10]byte
	for at := 0; at < size; at += len(a) {
		if n, err := io.ReadFull(r, a[:]); err != nil {
			return fmt.Errorf("expected %d bytes, got %d: %w", size, at+n, err)
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
	if s.datagrams() {
		s.carryMessages(p)
		return
	}
	errs := make(chan error, 4)
	say := func(what string, err error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
		errs <- err
	}
	go func() { say("write to the medium", sendBulk(s.bulkTo(p.medium), 1, bulk)) }()
	go func() { say("write to the core", sendBulk(s.bulkTo(p.core), 2, bulk)) }()
	go func() { say("from the medium to the core", checkBulk(s.bulkFrom(p.core), 1, bulk)) }()
	go func() { say("from the core to the medium", checkBulk(s.bulkFrom(p.medium), 2, bulk)) }()
	for range 4 {
		s.must(wait(s.trial, errs, "16 MiB each way"), "carry 16 MiB each way")
	}
}

// counter counts what passes.
type counter struct {
	io.Writer
	n atomic.Int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// backPressure checks that a pipe takes little as long as its other end does not
// read, and all of it then.
func (s *stand) backPressure(p pipe) {
	s.takesLittle("from the medium to the core", p.core, p.medium, 3)
	s.takesLittle("from the core to the medium", p.medium, p.core, 4)
}

func (s *stand) takesLittle(what string, to io.Reader, from io.Writer, seed byte) {
	c := &counter{Writer: s.bulkTo(from)}
	sent := make(chan error, 1)
	go func() { sent <- sendBulk(c, seed, flood) }()
	for last := int64(-1); last < c.n.Load(); s.idle() {
		if last = c.n.Load(); last == flood {
			s.Fatalf("%s, while nobody reads: expected that the plug stops reading, it took %d MiB", what, flood>>20)
		}
	}
	s.must(checkBulk(s.bulkFrom(to), seed, flood), what)
	s.must(wait(s.trial, sent, "what was written"), "write "+what)
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
