package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
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
	for _, measure := range []func(context.Context) error{near.submitToResult, near.followedLine, near.largeResult} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return b.stream(ctx, port)
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

// stream is what a stream of the mesh carries on the same way.
func (b *work) stream(ctx context.Context, port int) error {
	var rates []float64
	for range b.rounds {
		start := time.Now()
		c, err := lab.DialWait(ctx, lab.Local(port))
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, c)
		_ = c.Close() // it was only read
		if err != nil || n != b.result {
			return fmt.Errorf("%d bytes of %d through the stream: %w", n, b.result, err)
		}
		rates = append(rates, float64(n)/1e6/time.Since(start).Seconds())
	}
	slices.Sort(rates)
	fmt.Printf("%-48s %8.0f MB/s median of %d\n", fmt.Sprintf("stream of %d MB on the same way", b.result/1_000_000), rates[len(rates)/2], len(rates))
	return nil
}
