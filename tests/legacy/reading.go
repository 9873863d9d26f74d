package legacy

import (
	"bytes"
	"context"
	"crypto/rsa"
	"io"
	"time"
)

// How the model reads what it is told, for tests that hold it against how ours do.

// Data is a data message as the model reads it.
type Data struct {
	Hops                   uint8
	From, To               uint64 // hashes of node IDs
	FromService, ToService string
	Payload                []byte
}

// ReadData reads a data message, type byte included.
func ReadData(msg []byte) (Data, error) {
	m, err := parseMessage(msg)
	return Data{m.hops, m.from, m.to, m.fromService, m.toService, m.payload}, err
}

// ReadUpdate reads a routing update, type byte included.
func ReadUpdate(msg []byte) (*Update, error) { return parseUpdate(msg) }

// ReadAdvert reads a service advertisement, type byte included.
func ReadAdvert(msg []byte) (*Advert, error) { return parseAdvert(msg) }

// ReadNotice reads the payload of a data message to the service unreach.
func ReadNotice(payload []byte) (Notice, error) { return parseNotice("", payload) }

// ReadFrames reads the messages of a link over TCP until the bytes are at their end.
func ReadFrames(b []byte) (messages [][]byte) {
	for in := bytes.NewReader(b); ; {
		msg, err := readFrame(in)
		if err != nil {
			return messages
		}
		messages = append(messages, msg)
	}
}

// VerifyToken tells why a token is not good for a request to a node.
func VerifyToken(key *rsa.PublicKey, node, token string, now time.Time) error {
	return verifyToken(key, node, token, now)
}

// Converse holds a control conversation with whoever is at the other end of conn,
// which it owns, until the end.
func (n *Node) Converse(ctx context.Context, conn io.ReadWriteCloser) {
	n.converse(ctx, &ControlSession{conn: conn, Local: true})
}
