package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Server is a TCP application at the far end.
type Server struct {
	Listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
	closed   bool
}

// Serve starts an application that handles each connection in a goroutine.
func Serve(handle func(*net.TCPConn)) (*Server, error) {
	return ServeOn("127.0.0.1:0", handle)
}

// ServeOn is Serve on a given address.
func ServeOn(addr string, handle func(*net.TCPConn)) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return ServeListener(l, handle), nil
}

// ServeListener is Serve of connections to l, which it owns.
func ServeListener(l net.Listener, handle func(*net.TCPConn)) *Server {
	s := &Server{Listener: l, conns: map[net.Conn]bool{}}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			closed := s.closed
			s.mu.Unlock()
			if closed {
				c.Close() // Close did not see it
			}
			s.wg.Go(func() {
				defer func() {
					c.Close()
					s.mu.Lock()
					delete(s.conns, c)
					s.mu.Unlock()
				}()
				handle(c.(*net.TCPConn))
			})
		}
	})
	return s
}

// Addr is where the application listens.
func (s *Server) Addr() string { return s.Listener.Addr().String() }

// Port is its port.
func (s *Server) Port() int { return s.Listener.Addr().(*net.TCPAddr).Port }

// Close ends the application and its connections, and waits.
func (s *Server) Close() {
	s.Listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Echo sends back what it gets, and its end.
func Echo(c *net.TCPConn) {
	// The far end notices whatever goes wrong here: that is what is tested.
	if _, err := io.Copy(c, c); err == nil {
		_ = c.CloseWrite()
	}
}

// Digest reads to the end and then answers with the SHA-256 of it all, in
// hexadecimal: the answer comes after the half-close.
func Digest(c *net.TCPConn) {
	h := sha256.New()
	if _, err := io.Copy(h, c); err != nil {
		return
	}
	if _, err := io.WriteString(c, hex.EncodeToString(h.Sum(nil))); err == nil {
		_ = c.CloseWrite()
	}
}

// Source returns a reader of n reproducible random bytes and the hash that has
// seen all of them once it is read to the end.
func Source(n int64, seed uint64) (io.Reader, hash.Hash) {
	h := sha256.New()
	var key [32]byte
	key[0] = byte(seed)
	return io.TeeReader(io.LimitReader(rand.NewChaCha8(key), n), h), h
}

// DialWait dials until somebody listens.
func DialWait(ctx context.Context, addr string) (*net.TCPConn, error) {
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if perr := Pause(ctx, 20*time.Millisecond); perr != nil {
			return nil, errors.Join(err, perr)
		}
	}
}

// RoundTrip sends a line through an echo application and expects it back.
func RoundTrip(ctx context.Context, addr string) error {
	c, err := DialWait(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	const text = "there and back again\n"
	if _, err := io.WriteString(c, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("half-close: %w", err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if string(got) != text {
		return fmt.Errorf("echo of %q is %q", text, got)
	}
	return nil
}

// WaitRoundTrip tries RoundTrip until one works: connections that come too
// early are refused or reset, which is what they should be.
func WaitRoundTrip(ctx context.Context, addr string) error {
	for {
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := RoundTrip(try, addr)
		cancel()
		if err == nil {
			return nil
		}
		if perr := Pause(ctx, 50*time.Millisecond); perr != nil {
			return errors.Join(err, perr)
		}
	}
}
