package plughost

import (
	"fmt"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// Policy says who may attach. The first rule that matches decides; without
// one, root and the core's own user get everything, others nothing.
//
// Where the system cannot tell who is at the other end, rules that name a user
// or group match nobody, and the default allows only if no rule names one: then
// the rights of the socket's directory are the policy.
type Policy struct{ Rules []Rule }

// Rule is one line of the plugs-policy item. The name of a plug is a claim; its
// user and groups are the proof.
type Rule struct {
	User  string              // name or number; empty: any
	Group string              // name or number, a supplementary group counts; empty: any
	Name  string              // pattern (path.Match) for the plug's name; empty: any
	Kinds []string            // patterns for the kinds that it may claim; empty: any
	Roles map[string]RoleRule // empty: all roles, unlimited
}

// RoleRule narrows a role.
type RoleRule struct {
	Max   int      // objects at once in a session; 0: the host's limit
	Dial  []string // role stream: "node/service" patterns; empty: all
	Bind  []string // role stream: service patterns; empty: all
	Types []string // role worker: patterns for types of work; empty: all

	// Names are patterns for node IDs, role link: by whose certificates, which the
	// plug alone has seen, a neighbour has proven to be that node. Empty: none.
	Names []string
}

// Validate names the rule and the field that is wrong. That a user or group
// exists is not asked: it may be made later.
func (p *Policy) Validate() error {
	for i := range p.Rules {
		if err := p.Rules[i].validate(); err != nil {
			return fmt.Errorf("plugs-policy rule %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *Rule) validate() error {
	if err := checkPatterns("name", []string{r.Name}); err != nil {
		return err
	}
	if err := checkPatterns("kinds", r.Kinds); err != nil {
		return err
	}
	for _, name := range sortedKeys(r.Roles) {
		role := r.Roles[name]
		if !slices.Contains(allRoles, name) {
			return fmt.Errorf("roles: unknown role %q, expected one of %s", name, strings.Join(allRoles, ", "))
		}
		if role.Max < 0 {
			return fmt.Errorf("roles.%s.max: %d, expected 0 or more", name, role.Max)
		}
		if name != wire.RoleLink && len(role.Names) > 0 {
			return fmt.Errorf("roles.%s.names: only the role link has neighbours", name)
		}
		if err := checkPatterns("roles."+name+".names", role.Names); err != nil {
			return err
		}
		if name != wire.RoleStream && len(role.Dial) > 0 {
			return fmt.Errorf("roles.%s.dial: only the role stream dials", name)
		}
		if err := checkPatterns("roles."+name+".bind", role.Bind); err != nil {
			return err
		}
		if name != wire.RoleWorker && len(role.Types) > 0 {
			return fmt.Errorf("roles.%s.types: only the role worker has types of work", name)
		}
		if err := checkPatterns("roles."+name+".types", role.Types); err != nil {
			return err
		}
		for _, d := range role.Dial {
			node, service, ok := splitDial(d)
			if !ok {
				return fmt.Errorf("roles.%s.dial: %q, expected node/service", name, d)
			}
			if err := checkPatterns("roles."+name+".dial", []string{node, service}); err != nil {
				return err
			}
		}
	}
	return nil
}

// allRoles are the roles that a rule can name, served by this core or not yet.
var allRoles = []string{wire.RoleLink, wire.RoleStream, wire.RolePacket, wire.RoleWorker, wire.RoleObserve}

func checkPatterns(field string, patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("%s: %q is not a pattern", field, p)
		}
	}
	return nil
}

// splitDial splits a dial pattern at its last slash: a service has none.
func splitDial(pattern string) (node, service string, ok bool) {
	i := strings.LastIndexByte(pattern, '/')
	if i < 0 {
		return "", "", false
	}
	return pattern[:i], pattern[i+1:], true
}

// everything is the rule of root and of the core's own user.
var everything = Rule{}

// match returns the rule for a plug of that name, nil if it may not attach.
func (p *Policy) match(c socket.Cred, name string) *Rule {
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.matchesUser(c) && matchAny(r.Name, name) {
			return r
		}
	}
	if p.trusted(c) {
		return &everything
	}
	return nil
}

// knows reports whether any plug of that user could attach, whatever its name:
// all that can be said before it has sent a byte.
func (p *Policy) knows(c socket.Cred) bool {
	return p.trusted(c) || slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.matchesUser(c) })
}

func (p *Policy) trusted(c socket.Cred) bool {
	if c.Known {
		return c.UID == 0 || int64(c.UID) == int64(os.Geteuid())
	}
	return !slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.User != "" || r.Group != "" })
}

// matchesUser is asked anew each time: users and groups come and go while the
// core runs.
func (r *Rule) matchesUser(c socket.Cred) bool {
	if r.User != "" {
		uid, err := lookupUser(r.User)
		if err != nil || !c.Known || c.UID != uid {
			return false
		}
	}
	if r.Group != "" {
		gid, err := lookupGroup(r.Group)
		if err != nil || !c.Known || (c.GID != gid && !slices.Contains(c.Groups, gid)) {
			return false
		}
	}
	return true
}

// hint is what the log says besides of a denial: a name that is mistyped looks like
// that of a plug that is not installed, until somebody is denied.
func (p *Policy) hint() string {
	names := p.unknownNames()
	if len(names) == 0 {
		return ""
	}
	return "; its rules of these match nobody, since they are not there: " + strings.Join(names, ", ")
}

// unknownNames lists the users and groups that the system does not know now: such a
// rule matches nobody.
func (p *Policy) unknownNames() []string {
	var names []string
	for _, r := range p.Rules {
		if _, err := lookupUser(r.User); r.User != "" && err != nil {
			names = append(names, "user "+r.User)
		}
		if _, err := lookupGroup(r.Group); r.Group != "" && err != nil {
			names = append(names, "group "+r.Group)
		}
	}
	return names
}

func lookupUser(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err
}

func lookupGroup(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(id), err
}

// allowsRole reports whether the rule grants a role, and how.
func (r *Rule) allowsRole(role string) (RoleRule, bool) {
	if len(r.Roles) == 0 {
		return RoleRule{}, true
	}
	rr, ok := r.Roles[role]
	return rr, ok
}

// allowsName reports whether a plug is believed that a neighbour has proven to be
// that node. Of root and the core's own user no plug could be kept from saying so.
func (r *Rule) allowsName(node string) bool {
	return r == &everything || slices.ContainsFunc(r.Roles[wire.RoleLink].Names, func(p string) bool { return matches(p, node) })
}

func (r *Rule) allowsKind(kind string) bool {
	return len(r.Kinds) == 0 || slices.ContainsFunc(r.Kinds, func(p string) bool { return matches(p, kind) })
}

func (r RoleRule) allowsDial(node, service string) bool {
	return len(r.Dial) == 0 || slices.ContainsFunc(r.Dial, func(p string) bool {
		n, s, ok := splitDial(p)
		return ok && matches(n, node) && matches(s, service)
	})
}

func (r RoleRule) allowsBind(service string) bool {
	return len(r.Bind) == 0 || slices.ContainsFunc(r.Bind, func(p string) bool { return matches(p, service) })
}

func (r RoleRule) allowsType(name string) bool {
	return len(r.Types) == 0 || slices.ContainsFunc(r.Types, func(p string) bool { return matches(p, name) })
}

// matchAny is matches, where an empty pattern matches everything.
func matchAny(pattern, s string) bool { return pattern == "" || matches(pattern, s) }

// matches treats a broken pattern as one that matches nothing; Validate has
// refused it before.
func matches(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return ok && err == nil
}
