package plughost

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// clip makes a text of a plug fit to be shown: one line of at most maxText
// bytes, without control characters.
func clip(s string) string {
	const ellipsis = "..."
	cut := len(s) > maxText
	if cut {
		s = s[:maxText-len(ellipsis)]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if cut {
		s += ellipsis
	}
	return s
}

// isName reports whether s can be the name of a plug: 1 to 63 of a-z, 0-9 and -.
func isName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
