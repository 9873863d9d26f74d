package mtls

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// lookEvery is how long a look at the files counts. A change is noticed after
// that long, and a node that is overrun by connections reads some kilobytes in it.
const lookEvery = time.Second

// source is material that follows its files.
type source struct {
	files files
	check func(*material) error // what the profile demands
	every time.Duration
	log   hclog.Logger

	current atomic.Pointer[material]

	mu      sync.Mutex
	looked  time.Time
	problem error  // why the files, as they were then, are not what is current
	heard   string // the problem that the log has told of
}

// newSource reads the files for the first time.
func newSource(f files, check func(*material) error, log hclog.Logger) (*source, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	s := &source{files: f, check: check, every: lookEvery, log: log, looked: time.Now()}
	m, err := s.read(nil)
	if err != nil {
		return nil, err
	}
	s.current.Store(m)
	s.warnOfExpiry(m)
	return s, nil
}

// read makes material of the files as they are, or returns old if they are as
// they were.
func (s *source) read(old *material) (*material, error) {
	c, err := s.files.read()
	if err != nil {
		return nil, err
	}
	if old != nil && c.equal(old.contents) {
		return old, nil
	}
	m, err := s.files.parse(c)
	if err != nil {
		return nil, err
	}
	if err := s.check(m); err != nil {
		return nil, err
	}
	return m, nil
}

// get is what the files hold, or held when they last made sense.
func (s *source) get() *material {
	s.look()
	return s.current.Load()
}

// look reads the files again, unless somebody has just done so or is doing it.
func (s *source) look() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.looked.Add(s.every).After(time.Now()) {
		return
	}
	s.looked = time.Now()
	old := s.current.Load()
	m, err := s.read(old)
	if err != nil {
		s.failed(err)
		return
	}
	s.problem, s.heard = nil, ""
	if m == old {
		return
	}
	m.generation = old.generation + 1
	s.current.Store(m)
	s.log.Info("certificate files have changed and are in use", "names", m.names)
	s.warnOfExpiry(m)
}

// failed notes that the files make no sense. Files are not replaced all at once,
// so the log hears only of what is still so at the next look.
func (s *source) failed(err error) {
	again := s.problem != nil && s.problem.Error() == err.Error()
	s.problem = err
	if again && s.heard != err.Error() {
		s.heard = err.Error()
		s.log.Error("certificate files have changed and cannot be used, going on with those from before", "error", err)
	}
}

// soon is how long before its end a certificate is warned of.
const soon = 14 * 24 * time.Hour

func (s *source) warnOfExpiry(m *material) {
	if m.cert != nil && time.Until(m.cert.Leaf.NotAfter) < soon {
		s.log.Warn("certificate ends soon or has ended", "file", s.files.cert, "end", m.cert.Leaf.NotAfter)
	}
}

// Status is the state of a loaded profile.
type Status struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`            // tls-server, tls-client
	Nodes    []string  `json:"nodes,omitempty"` // node IDs in the certificate
	NotAfter time.Time `json:"not_after,omitzero"`
	DaysLeft *int      `json:"days_left,omitempty"` // until then, whole ones; negative: it has ended
	Loaded   time.Time `json:"loaded"`              // when the files in use were read
	Err      string    `json:"err,omitempty"`       // why the files, as they are now, are not in use
	Warning  string    `json:"warning,omitempty"`   // what the profile leaves open
}

func (s *source) status(name, kind, warning string) Status {
	m := s.get()
	s.mu.Lock()
	problem := s.problem
	s.mu.Unlock()
	st := Status{Name: name, Kind: kind, Nodes: m.names, Loaded: m.loaded, Warning: warning}
	if m.cert != nil {
		days := daysUntil(time.Now(), m.cert)
		st.NotAfter, st.DaysLeft = m.cert.Leaf.NotAfter, &days
	}
	if problem != nil {
		st.Err = problem.Error()
	}
	return st
}

// daysUntil counts the whole days that are left of a certificate.
func daysUntil(now time.Time, c *tls.Certificate) int {
	const day = 24 * time.Hour
	left := c.Leaf.NotAfter.Sub(now)
	if left < 0 {
		left -= day - 1
	}
	return int(left / day)
}
