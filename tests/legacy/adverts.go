package legacy

import (
	"cmp"
	"slices"
	"time"
)

// The times of our own advertisements.
const (
	advertDelay    = 5 * time.Second // after a service is added
	advertInterval = time.Minute
)

// service names a service of a node.
type service struct{ node, name string }

// adverts are the latest advertisements of all services. None ever expires.
type adverts struct {
	known    map[service]Advert
	canceled map[service]time.Time
	own      map[string]Advert // by service
	next     time.Time         // for tick; zero: nothing to advertise
}

func newAdverts() *adverts {
	return &adverts{known: map[service]Advert{}, canceled: map[service]time.Time{}, own: map[string]Advert{}}
}

// receive takes an advertisement and tells whether to relay it, as it came.
func (a *adverts) receive(ad Advert) (relay bool) {
	key := service{ad.NodeID, ad.Service}
	if last, ok := a.known[key]; ok && !ad.Time.After(last.Time) {
		return false
	}
	if at, ok := a.canceled[key]; ok && !ad.Time.After(at) {
		return false // a storm, in a cycle of existing nodes
	}
	delete(a.known, key)
	if ad.Cancel {
		a.canceled[key] = ad.Time
	} else {
		a.known[key] = ad
	}
	return true
}

// add advertises a service of ours.
func (a *adverts) add(now time.Time, ad Advert) {
	a.own[ad.Service] = ad
	a.next = now.Add(advertDelay)
}

// remove ends that.
func (a *adverts) remove(service string) { delete(a.own, service) }

// tick returns what is to be flooded.
func (a *adverts) tick(now time.Time) []Advert {
	if a.next.IsZero() || now.Before(a.next) {
		return nil
	}
	a.next = now.Add(advertInterval)
	due := make([]Advert, 0, len(a.own))
	for _, ad := range a.own {
		ad.Time = now
		a.known[service{ad.NodeID, ad.Service}] = ad
		due = append(due, ad)
	}
	slices.SortFunc(due, func(x, y Advert) int { return cmp.Compare(x.Service, y.Service) })
	return due
}

// all are those of all nodes, ours as of now.
func (a *adverts) all(now time.Time) []Advert {
	list := make([]Advert, 0, len(a.own)+len(a.known))
	for _, ad := range a.own {
		ad.Time = now
		list = append(list, ad)
	}
	for key, ad := range a.known {
		if own, ok := a.own[key.name]; !ok || own.NodeID != key.node {
			list = append(list, ad)
		}
	}
	slices.SortFunc(list, func(x, y Advert) int {
		return cmp.Or(cmp.Compare(x.NodeID, y.NodeID), cmp.Compare(x.Service, y.Service))
	})
	return list
}
