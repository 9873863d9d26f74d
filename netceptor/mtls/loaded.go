package mtls

import "github.com/hashicorp/go-hclog"

// The kinds of items that profiles are.
const (
	kindServer = "tls-server"
	kindClient = "tls-client"
)

// loaded is what a Server and a Client have in common.
type loaded struct {
	name    string
	relaxed bool
	pins    pins
	source  *source
}

func (l *loaded) load(kind string, f files, fingerprints []string, node string, log hclog.Logger) (err error) {
	if l.pins, err = parsePins(fingerprints); err != nil {
		return err
	}
	check := func(m *material) error {
		if l.relaxed || node == "" {
			return nil
		}
		return m.checkOwnName(node)
	}
	if log != nil {
		log = log.With("profile", kind+" "+l.name)
	}
	l.source, err = newSource(f, check, log)
	return err
}

// Name is that of the profile.
func (l *loaded) Name() string { return l.name }

// Relaxed tells whether a neighbour's node ID is not held against its certificate.
func (l *loaded) Relaxed() bool { return l.relaxed }

// Generation changes when the files have.
func (l *loaded) Generation() uint64 { return l.source.get().generation }
