package netceptor

import (
	"errors"
	"slices"
)

// maxWaiting bounds the links of one listener whose other ends have not said who
// they are: anybody can make those, and each takes a socket and some 20 KB. It is
// more than comes at once when a hub with hundreds of leaves restarts: else those
// would push each other out.
const maxWaiting = 1024

// errWaited is why a link had to make room.
var errWaited = errors.New("it did not say who it is while many others came")

// waiting are the accepted links without a peer, by item, the oldest first. The
// mutex of the mesh guards it.
//
// At the bound the oldest gives way, rather than the newest being refused: an
// honest neighbour needs a moment only, and so gets through among thousands that
// stay silent, which would else keep the door shut.
type waiting map[string][]*Link

// add takes a link in. It returns the one that must go for it, or nil.
func (w waiting) add(l *Link) *Link {
	if l.config.Dir != "in" {
		return nil
	}
	links := append(w[l.config.Item], l)
	w[l.config.Item] = links
	if len(links) > maxWaiting {
		return links[0]
	}
	return nil
}

// remove is called when a link has a peer, or has ended.
func (w waiting) remove(l *Link) {
	links := w[l.config.Item]
	if i := slices.Index(links, l); i >= 0 {
		links = slices.Delete(links, i, i+1)
	}
	if w[l.config.Item] = links; len(links) == 0 {
		delete(w, l.config.Item)
	}
}
