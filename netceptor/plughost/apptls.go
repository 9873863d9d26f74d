package plughost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// appTLSTime is how long an application may take for the handshake of TLS: a
	// stream waits for it.
	appTLSTime = 10 * time.Second

	// appTLSFarewell is how long an application may take to close its connection
	// once both sides have ended it within TLS. What was written last may be on its
	// way until then.
	appTLSFarewell = 10 * time.Second
)

// bytesOf is an application as a connection, for TLS to be spoken on.
type bytesOf interface {
	application
	net.Conn
}

// encrypted is an application that speaks TLS with the core. Its ends are those of
// TLS: bytes that end without one were cut off.
type encrypted struct {
	tls   *tls.Conn
	below bytesOf

	ended, finished atomic.Bool // their end was read, ours was written
	closing         sync.Once
}

// endless is what is below TLS: an end of the connection is none of the bytes,
// which crypto/tls would take it for between two records. And a direction ends when
// the application has read it: crypto/tls would give it seconds, and then make every
// further write fail.
type endless struct{ net.Conn }

// SetWriteDeadline implements net.Conn.
func (endless) SetWriteDeadline(time.Time) error { return nil }

var errCutOff = errors.New("the connection has ended, and TLS had not")

// Read implements net.Conn.
func (e endless) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errCutOff
	}
	return n, err
}

// speaksTLS tells whether the core speaks TLS with the item's applications.
func (t itemTLS) speaksTLS() bool { return t.appServer != nil || t.appClient != nil }

// withApplication makes of an application's bytes what passes to the mesh: by TLS,
// where the item has that. With an error it has aborted below.
func (h *Host) withApplication(ctx context.Context, item string, t itemTLS, below bytesOf) (application, error) {
	if !t.speaksTLS() {
		return below, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, appTLSTime, errAppTLSTime)
	defer cancel()
	var conn *tls.Conn
	var err error
	if t.appServer != nil {
		conn, _, err = t.appServer.Handshake(ctx, endless{below})
	} else {
		conn, _, err = t.appClient.Handshake(ctx, endless{below}, t.appHost)
	}
	if err == nil {
		return &encrypted{tls: conn, below: below}, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("TLS with the application: %w", err)
	h.count("app_tls_failed")
	if h.isNews(item + " " + err.Error()) {
		h.log.Warn("stream ended before it began", "item", item, "error", err)
	}
	_ = below.Reset(wire.Reset{Code: wire.CodeRefused, Msg: clip(err.Error())}) // whatever it says: it is over
	return nil, err
}

var errAppTLSTime = fmt.Errorf("it did not finish within %v", appTLSTime)

// plaintext is what is decrypted at once: a record of TLS.
type plaintext = [16 << 10]byte

var plaintexts = sync.Pool{New: func() any { return new(plaintext) }}

// Pass implements passer.
func (e *encrypted) Pass(w io.Writer) (int, error) {
	buf := plaintexts.Get().(*plaintext)
	defer plaintexts.Put(buf)
	n, err := e.tls.Read(buf[:])
	if n > 0 {
		return w.Write(buf[:n])
	}
	if errors.Is(err, io.EOF) {
		e.ended.Store(true)
	}
	return 0, err
}

// Write implements io.Writer.
func (e *encrypted) Write(p []byte) (int, error) { return e.tls.Write(p) }

// CloseWrite implements application.
func (e *encrypted) CloseWrite() error {
	err := e.tls.CloseWrite()
	if err == nil {
		err = e.below.CloseWrite()
	}
	e.finished.Store(err == nil)
	return err
}

// Wait implements application: an abort after the end within TLS shows when
// something is written.
func (e *encrypted) Wait() error { return nil }

// Reset implements application.
func (e *encrypted) Reset(r wire.Reset) error { return e.below.Reset(r) }

// Flushed implements application.
func (e *encrypted) Flushed() bool { return e.below.Flushed() }

// Close implements application. After both ends it waits until the application
// has closed its connection, as what it has not received yet would be lost.
func (e *encrypted) Close() error {
	e.closing.Do(func() {
		if e.ended.Load() && e.finished.Load() && e.below.SetReadDeadline(time.Now().Add(appTLSFarewell)) == nil {
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{e.below}) // ends by the deadline at the latest
		}
	})
	return e.below.Close()
}

// ofItem is the TLS of an item that a message names; with an empty one there is
// none.
func (g *guest) ofItem(id string) (itemTLS, error) {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	if id == "" {
		return itemTLS{}, nil
	}
	it := g.carriedItem(id)
	if it == nil { // gone just now; its TLS must not be left out
		return itemTLS{}, wire.NewError(wire.CodeGone, "item %q is gone", clip(id))
	}
	return it.tls, nil
}
