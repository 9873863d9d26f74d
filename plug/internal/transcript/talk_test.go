//go:build unix

package transcript_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/project-receptor/receptor/plug/internal/transcript"
	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// unknownType is of a message that no version has.
const unknownType wire.Type = 0x7e

// talk is one side of a session, driven line by line.
type talk struct {
	*session.Session
	*transcript.Stage
	came chan *message
}

// message is one that has come, and waits for its answer if it is a request.
type message struct {
	*session.Request
	answer chan func() (any, error)
}

func newTalk(s *transcript.Stage, conn net.Conn, side session.Side) *talk {
	t := &talk{Stage: s, came: make(chan *message, 16)}
	t.Session = s.Session(session.Config{Conn: conn, Side: side, Handler: func(ctx context.Context, r *session.Request) (any, error) {
		m := &message{Request: r, answer: make(chan func() (any, error), 1)}
		if r.Type == unknownType {
			return nil, session.ErrUnsupported
		}
		t.came <- m
		if r.Notification {
			return nil, nil
		}
		select {
		case answer := <-m.answer:
			return answer()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	return t
}

// next returns the next message, which must be of a type and have a body.
func (t *talk) next(typ wire.Type, want any) *message {
	var m *message
	select {
	case m = <-t.came:
	case <-t.Context().Done():
		t.Must(fmt.Errorf("waited in vain for %s", typ))
	}
	t.Equal(m.Type, typ)
	t.decoded(m.Decode, want)
	return m
}

// decoded checks what a body says. Params of items are compared as text.
func (s *talk) decoded(decode func(any) error, want any) { decoded(s.Stage, decode, want) }

func decoded(s *transcript.Stage, decode func(any) error, want any) {
	if want == nil {
		return
	}
	switch want := want.(type) {
	case wire.Hello:
		got(s, decode, want)
	case wire.Config:
		got(s, decode, want)
	case wire.Status:
		got(s, decode, want)
	case wire.Link:
		got(s, decode, want)
	case wire.Dial:
		got(s, decode, want)
	case wire.Attach:
		got(s, decode, want)
	case wire.PBind:
		got(s, decode, want)
	case wire.Bind:
		got(s, decode, want)
	case wire.Unbind:
		got(s, decode, want)
	case wire.Accept:
		got(s, decode, want)
	case wire.Keep:
		got(s, decode, want)
	case wire.Take:
		got(s, decode, want)
	case wire.Drain:
		got(s, decode, want)
	case wire.Closed:
		got(s, decode, want)
	case wire.WorkType:
		got(s, decode, want)
	case wire.Start:
		got(s, decode, want)
	case wire.Units:
		got(s, decode, want)
	case wire.Stop:
		got(s, decode, want)
	case wire.Release:
		got(s, decode, want)
	case wire.Recover:
		got(s, decode, want)
	case struct{}:
		got(s, decode, want)
	default:
		s.Must(fmt.Errorf("%T is no body", want))
	}
}

func got[T any](s *transcript.Stage, decode func(any) error, want T) {
	var b T
	s.Must(decode(&b))
	s.Equal(b, want)
}

// reply answers, and returns when the answer has gone, so that it comes before
// what the script does next.
func (t *talk) reply(m *message, body any, files ...*os.File) {
	t.Sends(1, func() { m.answer <- func() (any, error) { return session.Answer{Body: body, Files: files}, nil } })
}

// refuse is reply with an error.
func (t *talk) refuse(m *message, err error) {
	t.Sends(1, func() { m.answer <- func() (any, error) { return nil, err } })
}

// ask sends a request, whose answer must be want; a *wire.Error for an error.
func (t *talk) ask(typ wire.Type, body, want any, files ...*os.File) {
	var raw map[string]any
	came, err := t.CallFiles(t.Context(), typ, body, &raw, files)
	for _, f := range came {
		t.Must(f.Close())
	}
	if refused, ok := want.(*wire.Error); ok {
		t.Equal(err, error(refused))
		return
	}
	t.Must(err)
	t.Equal(fmt.Sprint(raw), fmt.Sprint(want))
}

// start starts a unit, which must be answered by want.
func (t *talk) start(body wire.Start, want wire.Unit, files ...*os.File) {
	var u wire.Unit
	_, err := t.CallFiles(t.Context(), wire.TypeStart, body, &u, files)
	t.Must(err)
	t.Equal(u, want)
}

// end ends the session.
func (t *talk) end() { t.Sends(1, func() { t.Close(nil) }) }

// gone waits for the end of the session, which the other side brings about.
func (t *talk) gone() {
	select {
	case <-t.Done():
	case <-t.Context().Done():
		t.Must(t.Context().Err())
	}
}

// socket is one to be handed over.
func sock(s *transcript.Stage) *os.File {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.Must(err)
	defer func() { _ = l.Close() }()
	f, err := l.(*net.TCPListener).File()
	s.Must(err)
	return f
}

// attach is the plug's part of the start of a session.
func attach(s *transcript.Stage, hello wire.Hello, want wire.Welcome) *talk {
	conn := s.Dial()
	w, err := session.Attach(s.Context(), conn, hello)
	s.Must(err)
	s.Equal(w, want)
	return newTalk(s, conn, session.SidePlug)
}

// welcome is the core's.
func welcome(s *transcript.Stage, want wire.Hello, w wire.Welcome) *talk {
	conn := s.Accept()
	o, err := session.Accept(s.Context(), conn)
	s.Must(err)
	got(s, o.Decode, want)
	s.Equal(o.FDPass, len(want.Features) > 0)
	s.Sends(1, func() { s.Must(o.Answer(w)) })
	return newTalk(s, conn, session.SideCore)
}

// open is the plug's part of a data connection.
func open(s *transcript.Stage, t wire.Type, body any) net.Conn {
	conn := s.Dial()
	o, err := session.Open(s.Context(), conn, t, body)
	s.Must(err)
	s.Equal(o, wire.Opened{Object: "object-1"})
	return conn
}

// opening is the core's, before its answer.
func opening(s *transcript.Stage, t wire.Type, want any) (net.Conn, *session.Opening) {
	conn := s.Accept()
	o, err := session.Accept(s.Context(), conn)
	s.Must(err)
	s.Equal(o.Type, t)
	decoded(s, o.Decode, want)
	return conn, o
}

// opened is opening with an answer.
func opened(s *transcript.Stage, t wire.Type, want any) net.Conn {
	conn, o := opening(s, t, want)
	s.Sends(1, func() { s.Must(o.Answer(wire.Opened{Object: "object-1"})) })
	return conn
}

// say writes, and hears reads what was written on the other side.
func say(s *transcript.Stage, c io.Writer, text string) {
	_, err := io.WriteString(c, text)
	s.Must(err)
}

func hear(s *transcript.Stage, c io.Reader, text string) {
	b := make([]byte, len(text))
	_, err := io.ReadFull(c, b)
	s.Must(err)
	s.Equal(string(b), text)
}

// ends reads an end, which a stream says and a link's connection is.
func ends(s *transcript.Stage, c io.Reader) {
	n, err := c.Read(make([]byte, 1))
	s.Equal(n, 0)
	s.Equal(err, io.EOF)
}

// stream is a data connection that carries records.
func stream(c net.Conn) *recordconn.Conn { return recordconn.New(c) }

// datagrams is a data connection that carries records of flows.
type datagrams struct {
	*transcript.Stage
	*packetconn.Conn
	came    []string
	writing sync.WaitGroup
}

// packets begins with the records of a packet service; the caller closes it.
func packets(s *transcript.Stage, c net.Conn) *datagrams {
	d := &datagrams{Stage: s, Conn: packetconn.New(c)}
	d.writing.Go(func() { _ = d.Write() }) // what does not go out is missed
	return d
}

func (d *datagrams) close() {
	d.Must(d.Close())
	d.writing.Wait()
}

// data sends a datagram, peer and gone what is to be known of a flow.
func (d *datagrams) data(flow uint32, text string) { d.Equal(d.Send(flow, 0, []byte(text)), true) }

func (d *datagrams) peer(flow uint32, text string) {
	d.Must(d.Control(wire.RecordPeer, flow, []byte(text)))
}

func (d *datagrams) gone(flow uint32, text string) {
	d.Must(d.Control(wire.RecordGone, flow, []byte(text)))
}

// hear reads the next record, which must be this one.
func (d *datagrams) hear(t wire.RecordType, flow uint32, text string) {
	for len(d.came) == 0 {
		d.Must(d.Read(func(h wire.RecordHeader, b []byte) error {
			d.came = append(d.came, fmt.Sprint(h.Type, h.Peer, string(b)))
			return nil
		}))
	}
	d.Equal(d.came[0], fmt.Sprint(t, flow, text))
	d.came = d.came[1:]
}

// ends waits for the connection's end.
func (d *datagrams) ends() {
	d.Equal(d.Read(func(wire.RecordHeader, []byte) error { return errors.New("a record, and no end") }), io.EOF)
}
