package workceptor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// fetch brings what a unit writes, to its end, and then ends it.
func (n *remoteNode) fetch(ru *remoteUnit) {
	for fresh := false; ru.ctx.Err() == nil; {
		end, err := n.fetchFrom(ru, fresh)
		switch {
		case err == nil:
			n.ended(ru, end, &[2]Output{end.Stdout, end.Stderr})
			return
		case ru.ctx.Err() != nil:
			return
		case errors.Is(err, client.ErrGone), errors.Is(err, client.ErrNotFound):
			n.mu.Lock()
			ru.report = Report{Unit: ru.id, State: ReportLost, Reason: fmt.Sprintf("node %s does not know it any more", n.node)}
			n.mu.Unlock()
			n.say(ru)
			return
		case errors.Is(err, errDamaged) && !fresh:
			n.w.log.Error("what is here of a unit's results is not what it has written, fetching all anew", "unit", ru.id, "error", err)
			fresh = true
			continue
		}
		n.w.log.Error("cannot fetch the results of a unit, trying on", "unit", ru.id, "node", n.node, "error", err)
		select {
		case <-ru.ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

var errDamaged = errors.New("results are not those that were measured")

// fetchFrom fetches what is missing of a unit's results until it has ended, and makes
// it durable. A fresh one begins anew.
func (n *remoteNode) fetchFrom(ru *remoteUnit, fresh bool) (end client.Status, err error) {
	var out, stderr *sink
	defer func() {
		for _, s := range []*sink{out, stderr} {
			if s != nil {
				s.file.Close() // what counts is synced
			}
		}
	}()
	if out, err = n.openSink(ru.id, store.Stdout, fresh); err != nil {
		return end, err
	}
	// What comes is as the other node has sent it, since nobody can change what goes
	// through a stream of the mesh; and whoever reads it here checks it.
	from := client.From{Stdout: out.at, StdoutHash: out.known, Stderr: client.Skip, Unchecked: true}
	if !ru.spec.Merged {
		if stderr, err = n.openSink(ru.id, store.Stderr, fresh); err != nil {
			return end, err
		}
		from.Stderr, from.StderrHash = stderr.at, stderr.known
	}
	grown := func() {
		n.mu.Lock()
		ru.report.Stdout = out.at
		if stderr != nil {
			ru.report.Stderr = stderr.at
		}
		r := ru.report
		n.mu.Unlock()
		if u, err := n.w.store.Get(ru.id); r.State == ReportRunning && err == nil && u.State == Running {
			n.w.grow(r)
		}
	}
	grown()
	end, err = n.signed(ru.spec.Remote.Sign).Results(ru.ctx, n.remoteID(ru), from, func(c client.Chunk) error {
		s := out
		if c.Stream == client.Stderr {
			s = stderr
		}
		if err := s.write(c.Data); err != nil {
			return err
		}
		grown()
		return nil
	})
	if errors.Is(err, client.ErrDamaged) {
		return end, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return end, err
	}
	for _, s := range []*sink{out, stderr} {
		if s == nil || s.at == 0 {
			continue
		}
		if err := n.w.store.Sync(ru.id, s.file); err != nil {
			return end, fmt.Errorf("keep the results of unit %s: %w", ru.id, err)
		}
	}
	return end, nil
}

// sink is where one stream of a unit of another node is kept.
type sink struct {
	file    fsys.File
	at      int64
	known   hash.Hash // of what was there when it was opened; nil: nothing was
	flushed int64     // so much is on its way to the disk
}

// openSink opens a stream of a unit to go on with it, or to begin anew.
func (n *remoteNode) openSink(id, name string, fresh bool) (*sink, error) {
	f, err := n.w.store.OpenFile(id, name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	s := &sink{file: f}
	if fresh {
		err = f.Truncate(0)
	} else {
		known := sha256.New()
		if s.at, err = io.Copy(known, f); s.at > 0 {
			s.known = known
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.flushed = s.at
	return s, nil
}

// flushEvery is after how much output the disk is told to begin with it: so what is
// left to be waited for at the end is little.
const flushEvery = 4 << 20

func (s *sink) write(b []byte) error {
	if _, err := s.file.WriteAt(b, s.at); err != nil {
		return err
	}
	s.at += int64(len(b))
	if s.at-s.flushed >= flushEvery {
		fsys.BeginSync(s.file, s.flushed, s.at-s.flushed)
		s.flushed = s.at
	}
	return nil
}

// ended is for a unit whose results are here, as they were there. What was not measured
// yet is nil.
func (n *remoteNode) ended(ru *remoteUnit, s client.Status, measured *[2]Output) {
	r := Report{Unit: ru.id, Handle: state.RemoteHandle(s.ID), Reason: s.Reason, measured: measured}
	switch {
	case s.State == Canceled:
		r.State = reportWithdrawn
	case s.State == Lost:
		r.State = ReportLost
	case s.Exit != nil:
		r.State, r.Exit = ReportExited, *s.Exit
	default:
		r.State = ReportRefused
		if r.Reason == "" {
			r.Reason = s.Detail
		}
	}
	n.mu.Lock()
	ru.report = r
	n.mu.Unlock()
	n.say(ru)
}
