package plughost

import (
	"errors"
	"os"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/adopted"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// keptKey tells kept sockets apart. Users find only their own.
type keptKey struct {
	user      int64
	item, key string
}

// kept is a listening or bound socket that is held while its plug restarts, so
// that nobody who connects meanwhile is refused.
type kept struct {
	sock   *adopted.Kept
	kind   string // of the item
	cred   socket.Cred
	holder *guest // whose it is; gone: for keptLinger
}

// keep answers KEEP.
func (g *guest) keep(r *session.Request) error {
	var req wire.Keep
	if err := r.Decode(&req); err != nil {
		return err
	}
	files := r.TakeFiles()
	if len(files) != 1 || !g.fdpass {
		return g.refuseFiles(files)
	}
	sock, err := adopted.Keep(files[0])
	if err != nil {
		g.host.count("descriptors_refused")
		return wire.NewError(wire.CodeInvalid, "%v", err)
	}
	if err := g.holdKept(req, sock); err != nil {
		return errors.Join(err, sock.Close())
	}
	return nil
}

// holdKept makes a kept socket known and counts it, in place of the one that
// had its key.
func (g *guest) holdKept(req wire.Keep, sock *adopted.Kept) error {
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	it := g.itemOf(req.Item)
	switch {
	case h.closed:
		return errStopping()
	case it == nil:
		return wire.NewError(wire.CodeDenied, "%s has no item %q", g.hello.Name, clip(req.Item))
	case len(req.Key) > maxText:
		return wire.NewError(wire.CodeInvalid, "the key of a kept socket has %d bytes, at most %d are allowed", len(req.Key), maxText)
	}
	key := keptKey{userKey(g.cred), req.Item, req.Key}
	if old := h.kept[key]; old != nil {
		h.dropKept(key, old)
	}
	count := 0
	for k := range h.kept {
		if k.user == key.user {
			count++
		}
	}
	if count >= maxKept {
		return wire.NewError(wire.CodeLimit, "%d sockets of uid %d are kept, at most %d are allowed", count, g.cred.UID, maxKept)
	}
	h.kept[key] = &kept{sock: sock, kind: it.kind.Kind, cred: g.cred, holder: g}
	return nil
}

// take answers TAKE: with another duplicate, so that it can be taken again.
func (g *guest) take(r *session.Request) (any, error) {
	var req wire.Take
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if !g.fdpass {
		return nil, g.refuseFiles(nil)
	}
	if g.itemOf(req.Item) == nil {
		return nil, wire.NewError(wire.CodeDenied, "%s has no item %q", g.hello.Name, clip(req.Item))
	}
	k := h.kept[keptKey{userKey(g.cred), req.Item, req.Key}]
	if k == nil {
		return nil, wire.NewError(wire.CodeNotFound, "no socket %q of item %q is kept", clip(req.Key), clip(req.Item))
	}
	f, err := k.sock.File()
	if err != nil {
		return nil, wire.NewError(wire.CodeLimit, "%v", err)
	}
	k.holder = g
	return session.Answer{Files: []*os.File{f}}, nil
}

// dropKept gives up a kept socket. Callers hold mu.
func (h *Host) dropKept(key keptKey, k *kept) {
	delete(h.kept, key)
	if err := k.sock.Close(); err != nil {
		h.log.Warn("a kept socket did not close", "item", key.item, "error", err)
	}
}

// dropKeptOf gives up those kept sockets for which which says so. Callers hold mu.
func (h *Host) dropKeptOf(which func(keptKey, *kept) bool) {
	for key, k := range h.kept {
		if which(key, k) {
			h.dropKept(key, k)
		}
	}
}

// orphanKept lets the kept sockets of a plug that has gone wait for it a while.
// Callers hold mu.
func (h *Host) orphanKept(g *guest) {
	orphans := false
	for _, k := range h.kept {
		orphans = orphans || k.holder == g
	}
	if !orphans || h.closed {
		return
	}
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		select {
		case <-time.After(keptLinger):
		case <-h.ctx.Done():
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.dropKeptOf(func(_ keptKey, k *kept) bool { return k.holder == g })
	}()
}
