package store

import (
	"slices"
	"time"
)

// Retention says how long ended units are kept that nobody releases. 0 is for ever.
type Retention struct {
	Age   time.Duration // since the end
	Count int           // of ended units
	Size  int64         // of their stdin, stdout and stderr together, in bytes
}

// Expired returns the units that r keeps no longer, the one that ended first at the
// front.
func (r Retention) Expired(all []Unit, now time.Time) []string {
	var ended []Unit
	var size int64
	for _, u := range all {
		if u.State.Final() {
			ended = append(ended, u)
			size += u.size()
		}
	}
	slices.SortFunc(ended, func(a, b Unit) int { return a.Ended.Compare(b.Ended) })
	var expired []string
	for i, u := range ended {
		if r.Age > 0 && now.Sub(u.Ended) > r.Age || r.Count > 0 && len(ended)-i > r.Count || r.Size > 0 && size > r.Size {
			expired = append(expired, u.ID)
			size -= u.size()
		}
	}
	return expired
}

func (u *Unit) size() int64 { return u.Stdin.Size + u.Stdout.Size + u.Stderr.Size }
