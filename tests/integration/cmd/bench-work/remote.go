package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

// remote measures units that are submitted and followed at one node and run at another,
// with a third between them, and a stream on the same way.
func (b *work) remote(ctx context.Context) (err error) {
	server, err := lab.Serve(func(c *net.TCPConn) {
		_, _ = io.CopyN(c, zeros{}, b.result) // what is missing the reader counts
	})
	if err != nil {
		return err
	}
	defer server.Close()
	port, err := b.startNodes(ctx, server)
	if err != nil {
		return err
	}
	near, omega := b.at("near"), b.at("omega")
	near.node = "omega"
	// As in bench. After a failure omega may not hear of all of it in time.
	defer func() {
		ctx := context.WithoutCancel(ctx)
		err = errors.Join(err, near.cleanUp(ctx))
		if err != nil {
			err = errors.Join(err, omega.cleanUp(ctx))
		}
	}()
	for _, measure := range []func(context.Context) error{near.submitToResult, near.followedLine} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return near.resultBesideStream(ctx, port)
}

// at is the same at another node.
func (b *work) at(node string) *work {
	other := *b
	other.client = client.Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", b.Socket(node))
	}}
	return &other
}

// startNodes starts near, hop and omega in a line, with the server behind omega, and
// returns the port at near that leads to it.
func (b *work) startNodes(ctx context.Context, server *lab.Server) (int, error) {
	ports := make([]int, 3)
	for i := range ports {
		var err error
		if ports[i], err = lab.FreePort(); err != nil {
			return 0, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	for _, args := range [][]string{
		{
			"--node", "id=near", "--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ports[0]),
			"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ports[2]), "remotenode=omega", "remoteservice=zeros",
		},
		{"--node", "id=hop", "--tcp-peer", "address=" + lab.Local(ports[0]), "--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ports[1])},
		append([]string{
			"--node", "id=omega", "--tcp-peer", "address=" + lab.Local(ports[1]), "--control-service", "service=control",
			"--tcp-client", "service=zeros", "address=" + server.Addr(),
		}, measured(self, b.sizes)...),
	} {
		if _, err := b.Start("receptor", args...); err != nil {
			return 0, err
		}
	}
	if err := b.WaitRoute(ctx, "near", "hop", "omega"); err != nil {
		return 0, err
	}
	return ports[2], b.WaitStatus(ctx, "omega", func(s *lab.Status) bool {
		return s.Item("work-command worktype=large").State == "up" && s.Item("tcp-client service=zeros").State == "up"
	})
}

// zeros never end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// resultBesideStream is the rate of a result and that of a stream of the mesh on the same
// way, by turns, so that what disturbs the machine disturbs both.
func (b *work) resultBesideStream(ctx context.Context, port int) error {
	var results, streams, shares []float64
	for range b.rounds {
		result, err := b.resultRate(ctx)
		if err != nil {
			return err
		}
		stream, err := b.streamRate(ctx, port)
		if err != nil {
			return err
		}
		results, streams, shares = append(results, result), append(streams, stream), append(shares, 100*result/stream)
	}
	b.reportRate("remote result", results, "from submit to end   (legacy 12.6)")
	b.reportRate("stream", streams, "on the same way")
	fmt.Printf("%-48s %8.0f %%    median of %d                       (at least 80)\n", "  remote result / stream, round by round", median(shares), len(shares))
	return nil
}

// streamRate is what a stream of the mesh carries, in MB/s.
func (b *work) streamRate(ctx context.Context, port int) (float64, error) {
	start := time.Now()
	c, err := lab.DialWait(ctx, lab.Local(port))
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, c)
	_ = c.Close() // it was only read
	if err != nil || n != b.result {
		return 0, fmt.Errorf("%d bytes of %d through the stream: %w", n, b.result, err)
	}
	return float64(n) / 1e6 / time.Since(start).Seconds(), nil
}
