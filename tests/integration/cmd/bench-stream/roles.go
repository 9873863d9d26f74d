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
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// roles are the ends of a transfer: a sink reads to the end and answers with the
// number of bytes; a source writes that many, ends its direction, checks the
// answer and prints the seconds it took. The deaf one accepts and never reads.
// udp-echo is for datagrams.
var roles = map[string]func(context.Context, []string) error{
	"sink":        sinkTCP,
	"echo":        echoTCP,
	"deaf":        deafTCP,
	"source":      sourceTCP,
	"udp-echo":    echoUDP,
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

func pump(s duplex, size uint64) error {
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
	return nil
}

// order is what a source is to do.
type order struct {
	addr    string
	size    uint64 // bytes in all
	streams uint64 // that share them
}

func parseOrder(args []string) (o order, err error) {
	if len(args) != 3 {
		return o, fmt.Errorf("expected ADDRESS BYTES STREAMS, got %q", args)
	}
	o.addr = args[0]
	if o.size, err = strconv.ParseUint(args[1], 10, 63); err != nil {
		return o, err
	}
	o.streams, err = strconv.ParseUint(args[2], 10, 16)
	return o, err
}

// each runs pump for every stream at once and prints the seconds they took.
func (o order) each(pump func(size uint64) error) error {
	start := time.Now()
	errs := make([]error, o.streams)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = pump(o.size / o.streams) })
	}
	wg.Wait()
	fmt.Println(time.Since(start).Seconds())
	return errors.Join(errs...)
}

func sinkTCP(ctx context.Context, _ []string) error { return serveTCP(ctx, drain) }

// echoTCP sends back what comes, and its end.
func echoTCP(ctx context.Context, _ []string) error {
	return serveTCP(ctx, func(s duplex) error {
		if _, err := io.Copy(s, s); err != nil {
			return err
		}
		return s.CloseWrite()
	})
}

// deafTCP keeps what it accepts.
func deafTCP(ctx context.Context, _ []string) error {
	return serveTCP(ctx, func(duplex) error {
		<-ctx.Done()
		return nil
	})
}

func serveTCP(ctx context.Context, handle func(duplex) error) error {
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
			if err := handle(c.(*net.TCPConn)); err != nil {
				fmt.Fprintln(os.Stderr, "serve:", err)
			}
		}()
	}
}

func sourceTCP(ctx context.Context, args []string) error {
	o, err := parseOrder(args)
	if err != nil {
		return err
	}
	return o.each(func(size uint64) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", o.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		return pump(c.(*net.TCPConn), size)
	})
}

// quicStream gives a QUIC stream the duplex methods.
type quicStream struct{ *quic.Stream }

func (s quicStream) CloseWrite() error { return s.Close() }

// quicConfig has the windows that Receptor's streams have.
func quicConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow:     256 << 10,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: 384 << 20,
		MaxConnectionReceiveWindow:     384 << 20,
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
	o, err := parseOrder(args)
	if err != nil {
		return err
	}
	return o.each(func(size uint64) error {
		c, err := quic.DialAddr(ctx, o.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bench"}}, quicConfig())
		if err != nil {
			return err
		}
		s, err := c.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		if err := pump(quicStream{s}, size); err != nil {
			return err
		}
		return c.CloseWithError(0, "")
	})
}
