package certs

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/plug/schema"
)

// The sizes of RSA keys: crypto/rsa makes none below, and above it takes minutes.
const (
	minBits = 1024
	maxBits = 16384
)

// params reads the parameters of an item and collects the mistakes.
type params struct {
	values schema.Values
	item   config.Item
	errs   config.Errors
}

func (p *params) errorf(format string, a ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s: %s", p.item.Label, fmt.Sprintf(format, a...)))
}

func (p *params) text(name string) string {
	s, _ := p.values[name].(string)
	return s
}

func (p *params) list(name string) []string {
	l, _ := p.values[name].([]string)
	return l
}

// differ says so if two files to be written are one.
func (p *params) differ(one, other string) {
	if path := p.text(one); path != "" && filepath.Clean(path) == filepath.Clean(p.text(other)) {
		p.errorf("parameter %s: expected another file than %s, got %q twice", other, one, path)
	}
}

// bits is the size of a key, 0 if it is not given.
func (p *params) bits() int {
	n, given := p.values["bits"].(int64)
	if given && (n < minBits || n > maxBits) {
		p.errorf("parameter bits: expected a number from %d to %d, got %d", minBits, maxBits, n)
	}
	return int(n)
}

func (p *params) addresses() []net.IP {
	var all []net.IP
	for _, text := range p.list("ipaddress") {
		ip := net.ParseIP(text)
		if ip == nil {
			p.errorf("parameter ipaddress: expected an IP address, got %q", text)
		}
		all = append(all, ip)
	}
	return all
}

// validity is the time for which a certificate is valid, where no parameter says
// otherwise that many years from now.
type validity struct {
	from, until time.Time
	years       int
}

func (p *params) validity(years int) validity {
	v := validity{from: p.time("notbefore"), until: p.time("notafter"), years: years}
	if !v.from.IsZero() && !v.until.IsZero() && !v.from.Before(v.until) {
		p.errorf("parameter notafter: expected a time after notbefore, got %s", p.text("notafter"))
	}
	return v
}

func (p *params) time(name string) time.Time {
	text := p.text(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.errorf("parameter %s: expected a time such as 2026-01-31T12:00:00Z, got %q", name, text)
	}
	return t
}

// span is the time for a certificate that is made now.
func (v validity) span(now time.Time) (from, until time.Time, err error) {
	from, until = v.from, v.until
	if from.IsZero() {
		from = now
	}
	if until.IsZero() {
		until = now.AddDate(v.years, 0, 0)
	}
	if !from.Before(until) {
		return from, until, fmt.Errorf("it would be valid from %s to %s, which is never", from.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	return from, until, nil
}
