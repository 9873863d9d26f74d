package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"strconv"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Payload is a payload on its way to a unit's Stdin. It is written to a file of its
// own: if it comes twice, because a submitter tries again while its first try still
// hangs, the one that is whole first makes it. A small one goes into the journal
// instead, with the unit's state: so it needs no syncs of its own. One goroutine uses
// it.
type Payload struct {
	s     *Store
	u     *unit
	name  string
	small []byte    // all of it, as long as there is no file
	f     fsys.File // nil as long as it is small
	hash  hash.Hash
	size  int64
}

// maxSmall bounds the payloads that are kept in the journal, and in memory until they
// are needed.
const maxSmall = 2 << 10

// Receive begins to receive a unit's payload. It ends with Commit, and Abort does no
// harm after that.
func (s *Store) Receive(id string) (*Payload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(id)
	if err != nil {
		return nil, err
	}
	u.payloads++
	return &Payload{s: s, u: u, name: Stdin + "." + strconv.Itoa(u.payloads) + ".tmp", hash: sha256.New()}, nil
}

// Write implements io.Writer. No more than maxSmall is kept in memory.
func (p *Payload) Write(b []byte) (int, error) {
	if p.f == nil && len(p.small)+len(b) <= maxSmall {
		p.small = append(p.small, b...)
		return p.wrote(b, len(b), nil)
	}
	if p.f == nil {
		f, err := p.s.open(p.u.id, p.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			return 0, err
		}
		p.f = f
		if _, err := f.Write(p.small); err != nil {
			return 0, err
		}
		p.small = nil
	}
	n, err := p.f.Write(b)
	return p.wrote(b, n, err)
}

func (p *Payload) wrote(b []byte, n int, err error) (int, error) {
	p.hash.Write(b[:n])
	p.size += int64(n)
	return n, err
}

// Digest is the SHA-256 of what was written so far.
func (p *Payload) Digest() string { return digest(p.hash) }

// Commit makes the payload durable, and the unit's if no other was before it. It
// returns the unit, which waits to be started.
func (p *Payload) Commit(ctx context.Context) (Unit, error) {
	defer func() { _ = p.Abort() }() // nothing to give up if all went well
	if p.f != nil {
		if err := p.f.Sync(); err != nil {
			return Unit{}, fmt.Errorf("keep the payload of unit %s: %w", p.u.id, err)
		}
	}
	first, err := p.claim(ctx)
	if err != nil {
		return Unit{}, err
	}
	if !first {
		return p.s.Get(p.u.id)
	}
	defer p.unclaim()
	if p.f != nil {
		if err := errors.Join(p.f.Close(), p.s.o.FS.Rename(p.path(), p.u.id+"/"+Stdin), p.s.syncDirs(p.u.id)); err != nil {
			return Unit{}, fmt.Errorf("keep the payload of unit %s: %w", p.u.id, err)
		}
		p.f = nil
	}
	return p.s.Next(ctx, p.u.id, state.Event{
		Kind: state.Received, Stdin: state.Output{Size: p.size, SHA256: digest(p.hash)}, Payload: p.small,
	})
}

// claim waits for the right to make the unit's payload; false: it has one.
func (p *Payload) claim(ctx context.Context) (bool, error) {
	for {
		p.s.mu.Lock()
		u, err := p.s.find(p.u.id)
		if err != nil || u.latest.Phase != state.Receiving || !u.claimed {
			free := err == nil && u.latest.Phase == state.Receiving
			if free {
				u.claimed = true
			}
			p.s.mu.Unlock()
			return free, err
		}
		more := p.s.watch(u)
		p.s.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

func (p *Payload) unclaim() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.u.claimed = false
	p.s.wakeWaiting(p.u)
}

// Abort gives a payload up.
func (p *Payload) Abort() error {
	if p.f == nil {
		return nil
	}
	err := errors.Join(p.f.Close(), p.s.o.FS.Remove(p.path()))
	p.f = nil
	return err
}

func (p *Payload) path() string { return p.u.id + "/" + p.name }
