package plughost

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// attach checks a HELLO and makes the plug known, so that nobody else gets its
// name or its kinds.
func (h *Host) attach(cred socket.Cred, o *session.Opening, conn net.Conn) (*guest, *wire.Welcome, error) {
	var hello wire.Hello
	if err := o.Decode(&hello); err != nil {
		return nil, nil, err
	}
	if !isName(hello.Name) {
		e := wire.NewError(wire.CodeInvalid, "name %q: expected 1 to 63 of a-z, 0-9 and -", clip(hello.Name))
		e.Path = "name"
		return nil, nil, e
	}
	if len(hello.Kinds) > maxKinds || len(hello.Roles) > maxRoles {
		return nil, nil, wire.NewError(wire.CodeLimit, "HELLO has %d kinds and %d roles, at most %d and %d are allowed",
			len(hello.Kinds), len(hello.Roles), maxKinds, maxRoles)
	}
	rule := h.policy.match(cred, hello.Name)
	if rule == nil {
		return nil, nil, wire.NewError(wire.CodeDenied, "plugs-policy has no rule for uid %d with a plug named %s", cred.UID, hello.Name)
	}
	var random [16]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	g := &guest{
		host:     h,
		log:      h.log.With("plug", hello.Name),
		cred:     cred,
		rule:     rule,
		hello:    hello,
		secret:   hex.EncodeToString(random[:]),
		since:    time.Now(),
		dirty:    make(chan struct{}, 1),
		fdpass:   o.FDPass && slices.Contains(hello.Features, wire.FeatureFDPass) && !h.noHandoff,
		roles:    make(map[string]int),
		refused:  make(map[string]refusal),
		reported: make(map[string]wire.ItemStatus),
		objects:  make(map[string]int),
		pending:  make(map[string]int),
	}
	g.hello.Program, g.hello.ProgramVersion = clip(hello.Program), clip(hello.ProgramVersion)
	g.dirty <- struct{}{} // the first CONFIG comes even if it is empty
	g.engine = session.New(session.Config{
		Conn:      conn,
		Side:      session.SideCore,
		Handler:   g.handle,
		Prompt:    func(t wire.Type) bool { return t == wire.TypeDial },
		Heartbeat: wire.HeartbeatInterval,
		OnStall:   g.setStalled,
	})

	h.mu.Lock()
	defer h.mu.Unlock()
	other := h.guestNamed(hello.Name)
	if other != nil && (!hello.Takeover || userKey(other.cred) != userKey(cred)) {
		return nil, nil, wire.NewError(wire.CodeExists, "a plug named %s is attached: pid %d", hello.Name, other.cred.PID)
	}
	if len(h.guests) >= maxSessions {
		return nil, nil, wire.NewError(wire.CodeBusy, "%d plugs are attached, at most %d are allowed", len(h.guests), maxSessions)
	}
	if other != nil {
		other.giveWay()
	}
	w := &wire.Welcome{
		Node:        h.node.NodeID(),
		CoreVersion: h.version,
		Session:     g.secret,
		Roles:       g.grantRoles(),
		Kinds:       g.grantKinds(),
		Limits:      wire.Limits{Opens: wire.MaxOpens, DataConn: maxDataConns},
		HeartbeatMS: int(wire.HeartbeatInterval / time.Millisecond),
	}
	if g.fdpass {
		w.Features = []string{wire.FeatureFDPass}
	}
	g.inherit()
	g.attachWorker()
	h.guests = append(h.guests, g)
	h.resolve()
	return g, w, nil
}

// detach forgets a plug whose session has ended. Its objects live on with their
// data connections; its binds wait a little for it to come back.
func (h *Host) detach(g *guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.gone = true
	h.guests = slices.DeleteFunc(h.guests, func(o *guest) bool { return o == g })
	h.orphanBinds(g)
	h.orphanKept(g)
	g.detachWorker()
	h.resolve()
}

// giveWay lets a newer process of the plug have what this one has: its kinds at
// once, and its binds as soon as it asks for them. Streams that arrive meanwhile
// wait. What this one carries may finish. Callers hold mu.
func (g *guest) giveWay() {
	h := g.host
	g.superseded, g.draining = true, true
	g.kinds = nil
	h.orphanBinds(g)
	g.detachWorker()
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		d := wire.Drain{DeadlineMS: takeoverDrain.Milliseconds(), Reason: "a newer process takes over"}
		if err := g.engine.Call(h.ctx, wire.TypeDrain, d, nil); err != nil {
			g.log.Debug("plug that was taken over did not drain", "error", err)
		}
		select {
		case <-g.engine.Done():
		case <-time.After(takeoverDrain):
			g.engine.Close(wire.NewError(wire.CodeDraining, "a newer process has taken over"))
		case <-h.ctx.Done():
		}
	}()
}

// replaced reports whether what the plug has handed over may count for a newer
// process of it. Callers hold mu.
func (g *guest) replaced() bool { return g.gone || g.superseded }

// servedVersions are the versions of the roles that this core serves.
func (h *Host) servedVersions(role string) []int {
	switch role {
	case wire.RoleWorker:
		if h.workers == nil {
			return nil
		}
		return []int{1}
	case wire.RoleLink, wire.RoleStream, wire.RolePacket, wire.RoleObserve:
		return []int{1}
	default:
		return nil
	}
}

// grantRoles chooses the highest common version of each role that the plug asks
// for and may have.
func (g *guest) grantRoles() []wire.RoleGrant {
	var grants []wire.RoleGrant
	for _, r := range g.hello.Roles {
		if _, twice := g.roles[r.Role]; twice {
			continue
		}
		grant := wire.RoleGrant{Role: clip(r.Role)}
		ours := g.host.servedVersions(r.Role)
		_, allowed := g.rule.allowsRole(r.Role)
		for _, v := range r.Versions {
			if slices.Contains(ours, v) && v > grant.Version {
				grant.Version = v
			}
		}
		switch {
		case len(ours) == 0:
			grant.Version, grant.Refused = 0, "this core does not serve it"
		case !allowed:
			grant.Version, grant.Refused = 0, "not allowed by plugs-policy"
		case grant.Version == 0:
			grant.Refused = clip(fmt.Sprintf("no common version: %d here, %d there", ours, r.Versions))
		default:
			g.roles[r.Role] = grant.Version
		}
		if grant.Refused != "" {
			g.problems = append(g.problems, "role "+grant.Role+": "+grant.Refused)
		}
		grants = append(grants, grant)
	}
	return grants
}

// grantKinds takes over the kinds that the plug may claim and returns the
// others. Callers hold mu.
func (g *guest) grantKinds() []wire.KindRefusal {
	var refused []wire.KindRefusal
	for _, k := range g.hello.Kinds {
		granted, why := g.grantKind(k)
		if why == "" {
			g.kinds = append(g.kinds, granted)
			continue
		}
		refused = append(refused, wire.KindRefusal{Kind: clip(k.Kind), Refused: why})
		g.problems = append(g.problems, "kind "+clip(k.Kind)+": "+why)
	}
	return refused
}

// grantKind returns the kind as items of it are checked, or why the plug does
// not get it.
func (g *guest) grantKind(k wire.Kind) (wire.Kind, string) {
	if _, ok := g.roles[k.Role]; !ok {
		return k, "its role " + clip(k.Role) + " is not granted"
	}
	if !g.rule.allowsKind(k.Kind) {
		return k, "not allowed by plugs-policy"
	}
	if err := schema.CheckKind(&k); err != nil {
		return k, err.Error()
	}
	// An alias is a claim as well. Without one that it may not have, the plug still
	// serves the kind.
	k.Aliases = slices.DeleteFunc(slices.Clone(k.Aliases), func(a wire.Alias) bool { return !g.rule.allowsKind(a.Kind) })
	names := []string{k.Kind}
	for _, a := range k.Aliases {
		names = append(names, a.Kind)
	}
	for _, name := range names {
		switch {
		case slices.Contains(g.host.coreKinds, name):
			return k, name + " is a kind of the core's own"
		case schema.Find(g.kinds, name) != nil:
			return k, name + " is claimed twice"
		}
		for _, other := range g.host.guests {
			if schema.Find(other.kinds, name) != nil {
				return k, "claimed by " + other.hello.Name
			}
		}
	}
	full, err := withPolicyParams(k)
	if err != nil {
		return k, err.Error()
	}
	return full, ""
}
