package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
)

type connectCommand struct{ mesh Mesh }

// connectParams are what it is to connect to.
type connectParams struct{ node, service, tls string }

func connectPlainParams(args string) (p connectParams, err error) {
	words := strings.Split(args, " ")
	switch len(words) {
	case 2:
		p = connectParams{node: words[0], service: words[1]}
	case 3:
		p = connectParams{node: words[0], service: words[1], tls: words[2]}
	default:
		return p, errors.New("connect takes a node, a service and optionally a TLS client")
	}
	return p, nil
}

func connectJSONParams(params map[string]json.RawMessage) (p connectParams, err error) {
	for _, f := range []struct {
		key      string
		to       *string
		optional bool
	}{{"node", &p.node, false}, {"service", &p.service, false}, {"tls", &p.tls, true}} {
		raw, ok := params[f.key]
		if !ok && f.optional {
			continue
		}
		if *f.to, ok = jsonString(raw); !ok {
			return p, fmt.Errorf("connect %s must be string", f.key)
		}
	}
	return p, nil
}

func (c connectCommand) plain(ctx context.Context, s Session, args *string, params map[string]json.RawMessage) (any, error) {
	var p connectParams
	var err error
	if args != nil {
		p, err = connectPlainParams(*args)
	} else {
		p, err = connectJSONParams(params)
	}
	if err != nil {
		return nil, err
	}
	return nil, c.connect(ctx, s, p, "Connecting", false)
}

// own is connect as before, but each direction ends by itself.
func (c connectCommand) own(ctx context.Context, s Session, args json.RawMessage, _ func(any) error) (any, error) {
	var a struct {
		Node    string `json:"node"`
		Service string `json:"service"`
		TLS     string `json:"tls"`
	}
	if err := decodeArgs(args, &a); err != nil {
		return nil, err
	}
	if err := needService(a.Node, a.Service); err != nil {
		return nil, err
	}
	return nil, c.connect(ctx, s, connectParams{a.Node, a.Service, a.TLS}, "", true)
}

// needService refuses arguments without a node or a service.
func needService(node, service string) error {
	if err := needNode(node); err != nil {
		return err
	}
	if service == "" {
		return &Error{CodeInvalid, "service is missing"}
	}
	return nil
}

// connect joins the client to a service until both have ended.
func (c connectCommand) connect(ctx context.Context, s Session, p connectParams, line string, halves bool) error {
	stream, err := c.mesh.Dial(ctx, p.node, p.service, p.tls)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Err // the client knows whom it asked for
		}
		return err
	}
	client, err := s.Hijack(line)
	if err != nil {
		return errors.Join(err, stream.Reset())
	}
	join(ctx, client, stream, halves)
	return nil
}

// join copies both ways until both have ended, and closes both. The client's end
// of writing is passed on; that of the stream is, too, with halves, and else ends
// the client's connection at once, as with legacy nodes. An abort on one side is
// one on the other, as far as the client's side knows such.
func join(ctx context.Context, client io.ReadWriteCloser, stream Stream, halves bool) {
	abort := func() {
		_ = stream.Reset()
		if r, ok := client.(interface{ Reset() error }); ok {
			_ = r.Reset()
		} else {
			_ = client.Close()
		}
	}
	stop := context.AfterFunc(ctx, abort)
	defer stop()

	var remoteEnded atomic.Bool
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, err := io.Copy(stream, client)
		if err == nil {
			err = stream.CloseWrite()
		}
		// Without halves, we closed the client ourselves: nothing is wrong then.
		if err != nil && (halves || !remoteEnded.Load() || !errors.Is(err, net.ErrClosed)) {
			abort()
		}
	}()

	_, err := io.Copy(client, stream)
	switch {
	case err != nil:
		abort()
	case halves:
		if closeWrite(client) != nil {
			abort()
		}
	default:
		remoteEnded.Store(true)
		_ = client.Close()
	}
	<-up
	_ = client.Close()
	_ = stream.Close()
}
