package plugtest

import (
	"encoding/json"
	"sync"

	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// PacketService is the core's side of a packet service that a plug has opened.
type PacketService struct {
	t       TB
	conn    *packetconn.Conn
	records chan PacketRecord
}

// PacketRecord is what has come over a packet service.
type PacketRecord struct {
	Type  wire.RecordType
	Flow  uint32
	Peer  wire.Peer // of PEER
	Bytes string    // of DATA
}

// PacketBind returns the next data connection that a plug has opened with PBIND.
func (c *FakeCore) PacketBind() *DataConn {
	c.t.Helper()
	return Receive(c.t, c.packets, "PBIND")
}

// PBindBody returns the body of PBIND.
func (d *DataConn) PBindBody() (b wire.PBind) {
	d.t.Helper()
	d.decode(&b)
	return b
}

// OpenPackets answers with the service that the plug has now.
func (d *DataConn) OpenPackets(bound wire.PBound) *PacketService {
	d.t.Helper()
	if err := d.Answer(d.extra(bound)); err != nil {
		d.t.Fatal(err)
	}
	p := &PacketService{t: d.t, conn: packetconn.New(d.conn), records: make(chan PacketRecord, 4096)}
	var running sync.WaitGroup
	running.Go(func() { _ = p.conn.Write() }) // Read says why it ends
	running.Go(p.read)
	d.t.Cleanup(func() {
		_ = p.conn.Close()
		running.Wait()
	})
	return p
}

// read takes what the plug sends, until it or the core is gone.
func (p *PacketService) read() {
	defer close(p.records)
	var err error
	for err == nil {
		err = p.conn.Read(func(h wire.RecordHeader, b []byte) error {
			r := PacketRecord{Type: h.Type, Flow: h.Peer}
			switch h.Type {
			case wire.RecordPeer:
				if err := json.Unmarshal(b, &r.Peer); err != nil {
					return err
				}
			case wire.RecordData:
				r.Bytes = string(b)
			default: // GONE: a plug says no more than that
			}
			select {
			case p.records <- r:
				return nil
			case <-p.t.Context().Done():
				return p.t.Context().Err()
			}
		})
	}
}

// Next returns the next record of the plug.
func (p *PacketService) Next() PacketRecord {
	p.t.Helper()
	return Receive(p.t, p.records, "a record")
}

// Send sends a datagram over a flow.
func (p *PacketService) Send(flow uint32, text string) {
	p.t.Helper()
	if !p.conn.Send(flow, 0, []byte(text)) {
		p.t.Fatal("plugtest: the plug takes no datagrams")
	}
}

// Peer makes a flow, whose handle is an even one, or answers one of the plug's.
func (p *PacketService) Peer(flow uint32, peer wire.Peer) { p.control(wire.RecordPeer, flow, peer) }

// Gone ends a flow.
func (p *PacketService) Gone(flow uint32, gone wire.Gone) { p.control(wire.RecordGone, flow, gone) }

func (p *PacketService) control(t wire.RecordType, flow uint32, body any) {
	p.t.Helper()
	b, err := json.Marshal(body)
	if err == nil {
		err = p.conn.Control(t, flow, b)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
