package backendws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/viaproxy"
)

// dialer is a ws-peer.
type dialer struct {
	item   *plug.Item
	params peerParams
	tls    *mtls.Client // nil: that of the system
}

func newDialer(it *plug.Item, p peerParams) (*dialer, error) {
	d := &dialer{item: it, params: p}
	if p.TLS != nil {
		var err error
		if d.tls, err = mtls.LoadClient(*p.TLS, "", it.Log); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// link makes a link and returns when it has ended, with the reason.
func (d *dialer) link(ctx context.Context) error {
	it, p := d.item, d.params
	info := plug.LinkInfo{Dir: "out", Medium: medium, Secured: p.url.Scheme == "wss"}
	ws, err := d.open(ctx, &info)
	if err != nil {
		if ctx.Err() == nil {
			it.Log.Warn("cannot connect", "error", err)
		}
		return err
	}
	it.Log.Info("connected", "address", p.Address)
	it.Up(p.Address)
	return carry(ctx, it, ws, info)
}

// open connects, and fills in what is known of the connection then.
func (d *dialer) open(ctx context.Context, info *plug.LinkInfo) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, viaproxy.Timeout)
	defer cancel()
	stop := func() bool { return true }
	defer func() { stop() }()
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		c, err := viaproxy.Dial(ctx, d.params.proxy, address)
		if err != nil {
			return nil, err
		}
		if err := plug.TuneLink(c); err != nil {
			d.item.Log.Debug("cannot tune a socket", "error", err)
		}
		// Who waits for an answer looks at deadlines only.
		stop = context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
		info.Local, info.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
		if d.params.proxy != nil {
			info.Remote = address // which the proxy alone has looked up
		}
		return &batch{Conn: newSock(c)}, nil
	}
	ws := websocket.Dialer{
		NetDialContext: dial,
		NetDialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			t, shown, err := d.handshake(ctx, c.(*batch).Conn) //nolint:forcetypeassert // dial's
			if err == nil {
				info.Names, err = namesOf(shown, d.tls == nil || d.tls.Relaxed())
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("TLS with %s: %w", address, err), c.Close())
			}
			return &batch{Conn: t}, nil
		},
		ReadBufferSize: bufferSize, WriteBufferSize: maxMessage, WriteBufferPool: writeBuffers,
	}
	conn, answer, err := ws.DialContext(ctx, d.params.url.String(), d.params.header)
	switch {
	case err == nil && !stop():
		return nil, errors.Join(context.Cause(ctx), conn.Close())
	case err == nil:
		_ = answer.Body.Close() // it is empty
		return conn, nil
	case answer != nil:
		return nil, fmt.Errorf("%s has answered %s%s", d.params.url.Redacted(), answer.Status, hint(answer))
	default:
		return nil, inTime(ctx, err)
	}
}

// handshake speaks TLS.
func (d *dialer) handshake(ctx context.Context, c net.Conn) (*tls.Conn, mtls.Peer, error) {
	host := d.params.url.Hostname()
	if d.tls != nil {
		return d.tls.Handshake(ctx, c, host)
	}
	t := tls.Client(c, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
	return t, mtls.Peer{}, t.HandshakeContext(ctx)
}

// hint says what an answer usually means that is no WebSocket.
func hint(answer *http.Response) string {
	switch answer.StatusCode {
	case http.StatusForbidden:
		return ": does a reverse proxy change the header Host, so that it differs from Origin?"
	case http.StatusNotFound:
		return ": is the path of the URL that of the listener?"
	case http.StatusOK, http.StatusBadRequest, http.StatusUpgradeRequired:
		return ": does a reverse proxy take away the header Upgrade?"
	default:
		return ""
	}
}
