package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

const (
	stalledStreams = 40                     // more than share a connection
	stallBeside    = 8                      // streams of a transfer beside them
	stallFull      = 500 * time.Millisecond // without a byte taken
)

// stalls measures what a transfer loses while streams to an application that does not
// read stand still, full. Transfers without and with them take turns.
func stalls(ctx context.Context, meshes []*mesh, sink *lab.Process, size int64, rounds int) error {
	for _, m := range meshes {
		var free, stalled []result
		var cores int64
		for range rounds {
			r, err := transfer(ctx, "source", m.sink, size, stallBeside, sink, m.procs)
			if err != nil {
				return fmt.Errorf("%s, nothing stalled: %w", m.name, err)
			}
			free = append(free, r)
			if r, err = m.transferBesideStalled(ctx, sink, size, &cores); err != nil {
				return fmt.Errorf("%s, %d streams stalled: %w", m.name, stalledStreams, err)
			}
			stalled = append(stalled, r)
		}
		before, during := gbits(size, median(free).seconds), gbits(size, median(stalled).seconds)
		fmt.Printf("%-8s others' rate while %d consumers are stalled: %.0f %% of before (%.2f of %.2f Gbit/s), medians of %d rounds; cores grew by %.0f MB at most\n",
			m.name, stalledStreams, 100*during/before, during, before, rounds, float64(cores)/1e6)
	}
	return nil
}

// transferBesideStalled is a transfer while other streams are full. It raises cores
// to what the memory of both cores has grown by at its end.
func (m *mesh) transferBesideStalled(ctx context.Context, sink *lab.Process, size int64, cores *int64) (result, error) {
	before, err := m.memory()
	if err != nil {
		return result{}, err
	}
	full, err := fill(ctx, m.deaf)
	defer func() {
		for _, c := range full {
			_ = c.Close()
		}
	}()
	if err != nil {
		return result{}, err
	}
	r, err := transfer(ctx, "source", m.sink, size, stallBeside, sink, m.procs)
	if err != nil {
		return result{}, err
	}
	after, err := m.memory()
	*cores = max(*cores, after["cores"]-before["cores"])
	return r, err
}

// fill opens streams and writes to them until they take no more. The caller closes
// them, also after an error.
func fill(ctx context.Context, addr string) ([]net.Conn, error) {
	var full []net.Conn
	errs := make([]error, stalledStreams)
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range errs {
		c, err := dial(ctx, addr)
		if err != nil {
			return full, err
		}
		full = append(full, c)
		wg.Go(func() { errs[i] = fillOne(c) })
	}
	wg.Wait()
	return full, errors.Join(errs...)
}

func fillOne(c net.Conn) error {
	buf := make([]byte, chunk)
	for {
		if err := c.SetWriteDeadline(time.Now().Add(stallFull)); err != nil {
			return err
		}
		n, err := c.Write(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && n == 0:
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}
