package plugtest

import (
	"net"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// DataConn is a data connection that a plug has opened and that waits for its
// answer: OpenLink, OpenStream, OpenPackets, OpenRecords, or Refuse.
type DataConn struct {
	*session.Opening
	body

	conn  net.Conn
	extra func(body any) any // adds the core's extra fields
}

// AttachBody returns the body of ATTACH.
func (d *DataConn) AttachBody() (b wire.Attach) {
	d.t.Helper()
	d.decode(&b)
	return b
}

// OpenLink answers with the object's name and returns the connection, which
// carries link framing now and is the caller's.
func (d *DataConn) OpenLink(object string) net.Conn {
	d.t.Helper()
	if err := d.Answer(d.extra(wire.Opened{Object: object})); err != nil {
		d.t.Fatal(err)
	}
	return d.conn
}

// OpenRecords is OpenPackets for who reads and writes the records: the connection is the
// caller's.
func (d *DataConn) OpenRecords(b wire.PBound) net.Conn {
	d.t.Helper()
	if err := d.Answer(d.extra(b)); err != nil {
		d.t.Fatal(err)
	}
	return d.conn
}

// OpenStream answers with the object's name and returns the stream, which is
// the caller's.
func (d *DataConn) OpenStream(object string) *recordconn.Conn {
	d.t.Helper()
	return recordconn.New(d.OpenLink(object))
}

// Refuse answers with err and closes the connection.
func (d *DataConn) Refuse(err error) {
	d.t.Helper()
	if err := d.Opening.Refuse(err); err != nil {
		d.t.Fatal(err)
	}
	if err := d.conn.Close(); err != nil {
		d.t.Fatal(err)
	}
}
