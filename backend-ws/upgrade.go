package backendws

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/plug"
)

// maxRequest bounds the head of a request; those of browsers and proxies have few
// kilobytes.
const maxRequest = 16 << 10

var errWrongPath = errors.New("no link is made at this path")

// writeBuffers are where messages are put together, whole: a message of several
// fragments is allowed, but not every node has met one.
var writeBuffers = &sync.Pool{}

// opensWebSocket tells whether a connection may become a WebSocket, by the head of its
// request, whole as far as it is shown. What else is wrong with it upgrade finds.
func opensWebSocket(head []byte) plug.Verdict {
	const method = "GET /"
	switch begins := head[:min(len(head), len(method))]; {
	case !strings.HasPrefix(method, string(begins)):
		return plug.NoLink
	case !bytes.Contains(head, []byte("\r\n\r\n")):
		return plug.TooShort
	case !bytes.Contains(bytes.ToLower(head), []byte("websocket")):
		return plug.NoLink
	}
	return plug.MayBeLink
}

// upgrade reads the one request of a connection, and makes a WebSocket of it if
// it asks for that at the path. A request with an Origin, as browsers send it, must
// come from there; websocket.Upgrader sees to it. The caller bounds the time, and
// closes c where it fails.
func upgrade(c *batch, path string) (*websocket.Conn, error) {
	limited := &io.LimitedReader{R: c, N: maxRequest}
	br := bufio.NewReaderSize(limited, bufferSize) // the WebSocket goes on with it
	req, err := http.ReadRequest(br)
	if err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("the request has more than %d bytes", maxRequest)
		}
		return nil, fmt.Errorf("read the request: %w", err)
	}
	w := &response{conn: c, br: br, header: http.Header{}}
	if !matches(path, req.URL.Path) {
		http.Error(w, errWrongPath.Error(), http.StatusNotFound)
		return nil, errors.Join(fmt.Errorf("%w: %.128q", errWrongPath, req.URL.Path), w.send())
	}
	up := websocket.Upgrader{WriteBufferPool: writeBuffers, WriteBufferSize: maxMessage}
	ws, err := up.Upgrade(w, req, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: origin %.128q, host %.128q", err, req.Header.Get("Origin"), req.Host), w.send())
	}
	return ws, nil
}

// matches tells whether a request is for the path: one that ends in / stands for
// all below it.
func matches(path, requested string) bool {
	return requested == path || strings.HasSuffix(path, "/") && strings.HasPrefix(requested, path)
}

// response is the answer to a request that does not become a WebSocket, or else
// the way to its connection.
type response struct {
	conn   net.Conn
	br     *bufio.Reader
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *response) Write(b []byte) (int, error) { return r.body.Write(b) }

// Hijack implements http.Hijacker.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.conn, bufio.NewReadWriter(r.br, bufio.NewWriterSize(r.conn, 512)), nil
}

// send writes the answer, if there is one.
func (r *response) send() error {
	if r.status == 0 {
		return nil
	}
	answer := http.Response{
		StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, Header: r.header, Close: true,
		Body: io.NopCloser(&r.body), ContentLength: int64(r.body.Len()),
	}
	return answer.Write(r.conn)
}
