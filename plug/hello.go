package plug

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// roleVersions are the versions of each role that this SDK speaks.
func roleVersions() []int { return []int{1} }

var plugName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Hello is how the plug introduces itself to a core, under name or, where that
// is empty, its program's name without "receptor-". The process it names is
// another one with each call. An error means that the plug describes itself
// wrongly, or that name is not one.
func (p *Plug) Hello(name string) (wire.Hello, error) {
	if name == "" {
		name = strings.TrimPrefix(p.Program, "receptor-")
	}
	if !plugName.MatchString(name) {
		return wire.Hello{}, fmt.Errorf("plug name %q: expected 1 to 63 of a-z, 0-9 and -", name)
	}
	if len(p.Kinds) == 0 || p.Run == nil {
		return wire.Hello{}, errors.New("plug has no kinds, or no Run")
	}
	h := wire.Hello{
		Name:           name,
		Program:        p.Program,
		ProgramVersion: p.Version,
		Kinds:          p.Kinds,
	}
	var roles []string
	for i := range p.Kinds {
		if err := schema.CheckKind(&p.Kinds[i]); err != nil {
			return wire.Hello{}, err
		}
		roles = append(roles, p.Kinds[i].Role)
	}
	seen := map[string]bool{}
	for _, role := range append(roles, p.Roles...) {
		if !seen[role] {
			seen[role] = true
			h.Roles = append(h.Roles, wire.RoleVersions{Role: role, Versions: roleVersions()})
		}
	}
	var process [8]byte
	if _, err := rand.Read(process[:]); err != nil {
		return wire.Hello{}, fmt.Errorf("name the process: %w", err)
	}
	h.Process = hex.EncodeToString(process[:])
	return h, nil
}
