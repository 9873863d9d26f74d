package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// Of what is measured besides bulk.
const (
	echoRounds  = 2000
	openSeconds = 3
	openAtOnce  = 16 // connections that are being made at any time
	openStreams = 1000
)

// small is what is measured of streams that carry little.
type small struct {
	p50, p99  time.Duration      // of a byte there and back on an open stream
	perSecond float64            // new streams, each with a byte there and back
	perOpen   map[string]float64 // seconds of CPU for a new stream, by group of processes
}

// measureSmall measures latency and rate of streams to what echoes at addr, with
// the processes of procs between. echo is the one that echoes.
func measureSmall(ctx context.Context, addr string, procs map[string][]int, echo int) (small, error) {
	var s small
	var err error
	if s.p50, s.p99, err = latency(ctx, addr); err != nil {
		return s, fmt.Errorf("latency: %w", err)
	}
	if s.perSecond, s.perOpen, err = openRate(ctx, addr, procs, echo); err != nil {
		return s, fmt.Errorf("new streams: %w", err)
	}
	return s, nil
}

// ping sends a byte and waits for its echo.
func ping(c net.Conn) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	return err
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func latency(ctx context.Context, addr string) (p50, p99 time.Duration, err error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	took := make([]time.Duration, echoRounds)
	for i := range took {
		start := time.Now()
		if err := ping(c); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[echoRounds/2], took[echoRounds*99/100], nil
}

// openRate opens streams as fast as they come, over warm connections of the mesh,
// and says what CPU time each takes of whom: the ends are the application
// that connects, which is this process, and the one that echoes.
func openRate(ctx context.Context, addr string, procs map[string][]int, echo int) (float64, map[string]float64, error) {
	groups := map[string][]int{"ends": {os.Getpid(), echo}}
	maps.Copy(groups, procs)
	before, err := cpuSeconds(groups)
	if err != nil {
		return 0, nil, err
	}
	total, err := openMany(ctx, addr)
	if err != nil {
		return 0, nil, err
	}
	per, err := cpuSeconds(groups)
	if err != nil {
		return 0, nil, err
	}
	for name := range per {
		per[name] = (per[name] - before[name]) / float64(total)
	}
	return float64(total) / openSeconds, per, nil
}

// openMany opens streams for openSeconds, and returns how many.
func openMany(ctx context.Context, addr string) (int, error) {
	end := time.Now().Add(openSeconds * time.Second)
	counts := make([]int, openAtOnce)
	errs := make([]error, openAtOnce)
	var wg sync.WaitGroup
	for i := range counts {
		wg.Go(func() {
			for time.Now().Before(end) && errs[i] == nil {
				errs[i] = openOne(ctx, addr)
				counts[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(errs...)
}

// openOne is one stream from its first to its last packet.
func openOne(ctx context.Context, addr string) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := ping(c); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

// memoryPerStream opens streams, uses each a little, and says what the resident
// memory of m's processes has grown by for each, in bytes by group. m is fresh, so
// that nothing is in memory that was freed before.
func memoryPerStream(ctx context.Context, m *mesh) (map[string]int64, error) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	var before map[string]int64
	for i := range 1 + openStreams {
		c, err := dial(ctx, m.echo)
		if err != nil {
			return nil, err
		}
		open = append(open, c)
		if err := ping(c); err != nil {
			return nil, err
		}
		if i > 0 {
			continue
		}
		if before, err = m.memory(); err != nil { // with what is made once
			return nil, err
		}
	}
	per, err := m.memory()
	for name := range per {
		per[name] = (per[name] - before[name]) / openStreams
	}
	return per, err
}
