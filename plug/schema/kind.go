package schema

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/project-receptor/receptor/plug/wire"
)

// Limits of a description, so that a plug's HELLO cannot swamp a core.
const (
	maxParams  = 64
	maxAliases = 8
)

var (
	kindName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	paramName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
)

// CheckKind says what is wrong with a description: names, types and defaults.
func CheckKind(k *wire.Kind) error {
	if !kindName.MatchString(k.Kind) {
		return fmt.Errorf("kind %s: a name is made of a-z, 0-9 and -, starts with a letter and has at most 63 of them", quoteIfNeeded(clip(k.Kind)))
	}
	if len(k.Params) > maxParams || len(k.Aliases) > maxAliases {
		return fmt.Errorf("kind %s: at most %d parameters and %d aliases", k.Kind, maxParams, maxAliases)
	}
	bare := false
	seen := map[string]bool{}
	for i := range k.Params {
		p := &k.Params[i]
		switch {
		case !paramName.MatchString(p.Name):
			return fmt.Errorf("kind %s: parameter %s: a name is made of a-z, 0-9, - and _", k.Kind, quoteIfNeeded(clip(p.Name)))
		case seen[p.Name]:
			return fmt.Errorf("kind %s: parameter %s is described twice", k.Kind, p.Name)
		case wants[p.Type] == "":
			return fmt.Errorf("kind %s: parameter %s: type %s is none of %s", k.Kind, p.Name, quoteIfNeeded(clip(p.Type)), strings.Join(Types(), ", "))
		case p.Profile() && p.TLS+p.AppTLS+p.PlugTLS != wire.TLSServer && p.TLS+p.AppTLS+p.PlugTLS != wire.TLSClient:
			return fmt.Errorf("kind %s: parameter %s: tls is %s, expected %s or %s", k.Kind, p.Name, quoteIfNeeded(clip(p.TLS+p.AppTLS+p.PlugTLS)), wire.TLSServer, wire.TLSClient)
		case p.AppTLS != "" && k.Role != wire.RoleStream || p.PlugTLS != "" && k.Role != wire.RoleLink:
			return fmt.Errorf("kind %s: parameter %s: app_tls is for streams, plug_tls for links", k.Kind, p.Name)
		case p.Profile() && (p.Type != TypeString || p.Key || p.Repeat):
			return fmt.Errorf("kind %s: parameter %s: what names TLS is a string, and neither repeated nor part of an item's identity", k.Kind, p.Name)
		case p.Bare && bare:
			return fmt.Errorf("kind %s: parameter %s: only one can be the bare one", k.Kind, p.Name)
		}
		seen[p.Name] = true
		bare = bare || p.Bare
		if err := checkDefault(k.Kind, p, p.Default); err != nil {
			return err
		}
	}
	for _, a := range k.Aliases {
		if !kindName.MatchString(a.Kind) {
			return fmt.Errorf("kind %s: alias %s is not a name of a kind", k.Kind, quoteIfNeeded(clip(a.Kind)))
		}
		for name, d := range a.Defaults {
			p := param(k, name)
			if p == nil || p.Name != name {
				return fmt.Errorf("kind %s: alias %s has a default for parameter %s, which the kind lacks", k.Kind, a.Kind, quoteIfNeeded(clip(name)))
			}
			if err := checkDefault(a.Kind, p, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkDefault(kind string, p *wire.Param, d any) error {
	if d == nil {
		return nil
	}
	if _, bad := canonical(p, d); bad != nil {
		return fmt.Errorf("kind %s: default of parameter %s: expected %s, got %s", kind, p.Name, bad.Want, bad.Got)
	}
	return nil
}
