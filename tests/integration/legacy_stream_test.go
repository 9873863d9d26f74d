package integration

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

const legacyTransfer = 8 << 20

// streams is a model, two of ours and a model in a line: a, b, c, d. What comes
// to entry at b goes to a service of d; service app at c is an application.
type streams struct {
	*mixed
	a, d  *legacy.Node
	entry string
	far   *legacy.Listener // the service of d
}

func newStreams(t *testing.T, app *lab.Server) *streams {
	t.Helper()
	s := &streams{mixed: newMixed(t)}
	ab, bc, cd, entry := freePort(t), freePort(t), freePort(t), freePort(t)
	s.entry = lab.Local(entry)
	s.ours("b", append(append(listens(ab), listens(bc)...),
		"--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode=d", "remoteservice=svc")...)
	s.ours("c", append(append(dials(bc), dials(cd)...), "--tcp-client", "service=app", "address="+app.Addr())...)
	s.a, s.d = s.model(legacy.Config{ID: "a"}), s.model(legacy.Config{ID: "d"})
	s.listen(s.d, cd, legacy.LinkConfig{})
	s.a.DialTCP(lab.Local(ab), legacy.LinkConfig{}, nil, true)
	var err error
	s.far, err = s.d.Listen("svc", nil)
	must(t, err)
	must(t, s.WaitRoute(s.ctx, "b", "a", "c", "d"))
	must(t, s.WaitRoute(s.ctx, "c", "a", "b", "d"))
	s.reaches(s.a, "b", "c", "d")
	s.reaches(s.d, "a", "b", "c")
	must(t, s.WaitStatus(s.ctx, "c", func(st *lab.Status) bool { return st.Item("tcp-client service=app").State == "up" }))
	return s
}

// halfCloser is what both kinds of streams are.
type halfCloser interface {
	io.ReadWriter
	CloseWrite() error
}

// digest sends data and their end, and expects the far end to answer with their sum.
func (s *streams) digest(c halfCloser) {
	s.t.Helper()
	src, hash := lab.Source(legacyTransfer, 5)
	_, err := io.Copy(c, src)
	must(s.t, err)
	must(s.t, c.CloseWrite())
	answer, err := io.ReadAll(c)
	must(s.t, err)
	if want := hex.EncodeToString(hash.Sum(nil)); string(answer) != want {
		s.t.Errorf("the answer after the half-close is %q, expected %s", answer, want)
	}
}

// serveDigest is the far end of digest.
func serveDigest(c halfCloser) error {
	_, hash := lab.Source(0, 5)
	if _, err := io.Copy(hash, c); err != nil {
		return err
	}
	if _, err := io.WriteString(c, hex.EncodeToString(hash.Sum(nil))); err != nil {
		return err
	}
	return c.CloseWrite()
}

// dialApp is a model dialling the application behind ours.
func (s *streams) dialApp() *legacy.Stream {
	s.t.Helper()
	c, err := s.a.Dial(s.ctx, "c", "app", nil)
	must(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	s.deadline(c)
	return c
}

// dialModel is an application dialling a model through ours.
func (s *streams) dialModel() (near *net.TCPConn, far *legacy.Stream) {
	s.t.Helper()
	near, err := lab.DialWait(s.ctx, s.entry)
	must(s.t, err)
	s.t.Cleanup(func() { near.Close() })
	s.deadline(near)
	far, err = s.far.Accept(s.ctx)
	must(s.t, err)
	s.deadline(far)
	return near, far
}

func (s *streams) deadline(c net.Conn) {
	deadline, _ := s.ctx.Deadline()
	c.SetDeadline(deadline)
}

// Data and half-closes, in each direction and between each pair of kinds.
func TestLegacyStreams(t *testing.T) {
	app, err := lab.Serve(func(c *net.TCPConn) { _ = serveDigest(c) })
	must(t, err)
	defer app.Close()
	s := newStreams(t, app)

	s.digest(s.dialApp())

	near, far := s.dialModel()
	served := make(chan error, 1)
	go func() { served <- serveDigest(far) }()
	s.digest(near)
	must(t, <-served)

	// Of two models, through ours.
	between, err := s.a.Dial(s.ctx, "d", "svc", nil)
	must(t, err)
	defer between.Close()
	far, err = s.far.Accept(s.ctx)
	must(t, err)
	go func() { served <- serveDigest(far) }()
	s.digest(between)
	must(t, <-served)

	// The far end ends first.
	near, far = s.dialModel()
	must(t, far.CloseWrite())
	rest, err := io.ReadAll(near)
	if err != nil || len(rest) > 0 {
		t.Errorf("after the far end's half-close: %q, %v", rest, err)
	}
	_, err = io.WriteString(near, "still")
	must(t, err)
	must(t, near.CloseWrite())
	if got, err := io.ReadAll(far); err != nil || string(got) != "still" {
		t.Errorf("the far end read %q, %v", got, err)
	}
}

// An existing node that closes a connection without FIN leaves a truncated
// stream, which must not look complete; nor must ours to it.
func TestLegacyAborts(t *testing.T) {
	reset := make(chan error, 1)
	app, err := lab.Serve(func(c *net.TCPConn) {
		err := exchangeBack(c)
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		reset <- err
	})
	must(t, err)
	defer app.Close()
	s := newStreams(t, app)

	t.Log("a model closes its connection")
	c := s.dialApp()
	must(t, lab.Exchange(c, "some"))
	must(t, c.Close())
	select {
	case err := <-reset:
		if err == nil {
			t.Error("the application saw an orderly end")
		}
	case <-s.ctx.Done():
		t.Fatal("the application saw no end")
	}

	t.Log("a model closes a connection that it has accepted")
	near, far := s.dialModel()
	must(t, exchangeWith(near, far))
	must(t, far.Close())
	expectReset(t, near)

	t.Log("an application resets its connection")
	near, far = s.dialModel()
	must(t, exchangeWith(near, far))
	must(t, near.SetLinger(0))
	near.Close()
	if got, err := io.ReadAll(far); err == nil {
		t.Errorf("the model read %q and an orderly end", got)
	}

	t.Log("nobody serves that")
	if _, err := s.a.Dial(s.ctx, "c", "nobody", nil); err == nil {
		t.Error("a model has dialled a service that is none")
	}
	must(t, s.far.Close())
	near, err = lab.DialWait(s.ctx, s.entry)
	must(t, err)
	s.deadline(near)
	expectReset(t, near)
}

// exchangeWith sends a text from one end to the other.
func exchangeWith(from io.Writer, to io.Reader) error {
	const text = "there"
	if _, err := io.WriteString(from, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil {
		return err
	}
	if !bytes.Equal(got, []byte(text)) {
		return errors.New("another text came: " + string(got))
	}
	return nil
}

// What two of ours say to each other through a model: their own streams, several
// on one connection.
func TestLegacyCarriesOurStreams(t *testing.T) {
	app, err := lab.Serve(lab.Digest)
	must(t, err)
	defer app.Close()
	m := newMixed(t)
	left, right, entry := freePort(t), freePort(t), freePort(t)
	m.ours("a", append(listens(left), "--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode=c", "remoteservice=app")...)
	m.ours("c", append(listens(right), "--tcp-client", "service=app", "address="+app.Addr())...)
	b := m.model(legacy.Config{ID: "b"})
	b.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
	b.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)
	must(t, m.WaitRoute(m.ctx, "a", "c"))
	must(t, m.WaitRoute(m.ctx, "c", "a"))
	must(t, m.WaitStatus(m.ctx, "c", func(st *lab.Status) bool { return st.Item("tcp-client service=app").State == "up" }))
	s := &streams{mixed: m}
	for range 3 {
		near, err := lab.DialWait(m.ctx, lab.Local(entry))
		must(t, err)
		s.deadline(near)
		started := time.Now()
		s.digest(near)
		near.Close()
		t.Logf("8 MiB in %v", time.Since(started))
	}
}
