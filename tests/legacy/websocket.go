package legacy

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// headerTime is how long a client may take over its request.
const headerTime = 5 * time.Second

// wsSession has a WebSocket message for each message.
type wsSession struct {
	conn *websocket.Conn
	mu   sync.Mutex
}

func (s *wsSession) Send(msg []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.WriteMessage(websocket.BinaryMessage, msg)
}

// Receive takes text for binary, too.
func (s *wsSession) Receive() ([]byte, error) {
	_, msg, err := s.conn.ReadMessage()
	return msg, err
}

func (s *wsSession) Close() error { return s.conn.Close() }

func (s *wsSession) String() string { return "ws " + s.conn.RemoteAddr().String() }

// ListenWebSocket accepts links at a path; an empty one is "/", which is all. t
// is nil for none without TLS.
func (n *Node) ListenWebSocket(addr, path string, c LinkConfig, t *TLS) (*Backend, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = "/"
	}
	mux := http.NewServeMux()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTime}
	b := n.newBackend(server.Close)
	b.Addr = l.Addr()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		var up websocket.Upgrader // the origin, if given, must be the host
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			n.note("", "upgrade of %s: %v", r.RemoteAddr, err)
			return
		}
		if !b.start(n, func() { b.carry(n, &wsSession{conn: conn}, c) }) {
			conn.Close()
		}
	})
	b.start(n, func() {
		if t != nil {
			server.TLSConfig = t.linkServer()
			err = server.ServeTLS(l, "", "")
		} else {
			err = server.Serve(l)
		}
		n.note("", "the WebSocket listener ended: %v", err)
	})
	return b, nil
}

// DialWebSocket makes a link to a ws or wss URL, and again after its end unless
// redial is false. The header goes with the request.
func (n *Node) DialWebSocket(at string, header http.Header, c LinkConfig, t *TLS, redial bool) (*Backend, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	origin := "http://" + u.Host
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment}
	if u.Scheme == "wss" {
		origin = "https://" + u.Host
		if t != nil {
			dialer.TLSClientConfig = t.linkClient(u.Hostname())
		}
	}
	request := http.Header{"Origin": {origin}}
	for key, values := range header {
		request[key] = values
	}
	b := n.newBackend(nothing)
	b.start(n, func() {
		b.keep(n, c, redial, func(ctx context.Context) (Session, error) {
			conn, resp, err := dialer.DialContext(ctx, at, request)
			if err != nil {
				return nil, err
			}
			resp.Body.Close()
			return &wsSession{conn: conn}, nil
		})
	})
	return b, nil
}
