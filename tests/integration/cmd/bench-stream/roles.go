package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
)

// roles are the ends of a transfer: a sink reads to the end and answers with the
// number of bytes; a source writes that many, ends its direction, checks the
// answer and prints the seconds it took.
var roles = map[string]func(context.Context, []string) error{
	"sink":        sinkTCP,
	"source":      sourceTCP,
	"quic-sink":   sinkQUIC,
	"quic-source": sourceQUIC,
}

// chunk is how much the ends read and write at once.
const chunk = 128 << 10

// duplex is a stream with half-close, of either carrier.
type duplex interface {
	io.ReadWriter
	CloseWrite() error
}

func drain(s duplex) error {
	buf := make([]byte, chunk)
	var n uint64
	for {
		m, err := s.Read(buf)
		n += uint64(m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if _, err := s.Write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
		return err
	}
	return s.CloseWrite()
}

func pump(s duplex, size uint64, start time.Time) error {
	buf := make([]byte, chunk)
	for left := size; left > 0; {
		n, err := s.Write(buf[:min(left, chunk)])
		if err != nil {
			return err
		}
		left -= uint64(n)
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(s)
	if err != nil {
		return err
	}
	if len(answer) != 8 || binary.BigEndian.Uint64(answer) != size {
		return fmt.Errorf("the sink answered %x, expected %d bytes", answer, size)
	}
	fmt.Println(time.Since(start).Seconds())
	return nil
}

func target(args []string) (addr string, size uint64, err error) {
	if len(args) != 2 {
		return "", 0, fmt.Errorf("expected ADDRESS BYTES, got %q", args)
	}
	size, err = strconv.ParseUint(args[1], 10, 63)
	return args[0], size, err
}

func sinkTCP(ctx context.Context, _ []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := drain(c.(*net.TCPConn)); err != nil {
				fmt.Fprintln(os.Stderr, "sink:", err)
			}
		}()
	}
}

func sourceTCP(ctx context.Context, args []string) error {
	addr, size, err := target(args)
	if err != nil {
		return err
	}
	start := time.Now()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return pump(c.(*net.TCPConn), size, start)
}

// quicStream gives a QUIC stream the duplex methods.
type quicStream struct{ *quic.Stream }

func (s quicStream) CloseWrite() error { return s.Close() }

// quicConfig has the windows that Receptor's streams have.
func quicConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow:     256 << 10,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: 128 << 20,
		MaxConnectionReceiveWindow:     128 << 20,
	}
}

func sinkQUIC(ctx context.Context, _ []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		NextProtos:   []string{"bench"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
	}, quicConfig())
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		go func() {
			s, err := c.AcceptStream(ctx)
			if err == nil {
				err = drain(quicStream{s})
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "quic-sink:", err)
			}
		}()
	}
}

func sourceQUIC(ctx context.Context, args []string) error {
	addr, size, err := target(args)
	if err != nil {
		return err
	}
	start := time.Now()
	c, err := quic.DialAddr(ctx, addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bench"}}, quicConfig())
	if err != nil {
		return err
	}
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	if err := pump(quicStream{s}, size, start); err != nil {
		return err
	}
	return c.CloseWithError(0, "")
}
