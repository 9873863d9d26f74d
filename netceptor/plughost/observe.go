package plughost

import "github.com/project-receptor/receptor/plug/wire"

// look answers LOOK: which plugs are attached now.
func (g *guest) look() (wire.Looked, error) {
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := g.roles[wire.RoleObserve]; !ok {
		return wire.Looked{}, wire.NewError(wire.CodeDenied, "role observe is not granted to %s", g.hello.Name)
	}
	l := wire.Looked{Items: h.digest, Plugs: make([]wire.AttachedPlug, 0, len(h.guests))}
	for _, o := range h.guests {
		p := wire.AttachedPlug{Name: o.hello.Name, Program: o.hello.Program, UID: -1, PID: o.cred.PID, Kinds: []string{}}
		if o.cred.Known {
			p.UID = int64(o.cred.UID)
		}
		for _, k := range o.kinds {
			p.Kinds = append(p.Kinds, k.Kind)
		}
		l.Plugs = append(l.Plugs, p)
	}
	return l, nil
}
