package schema

import (
	"fmt"
	"strings"

	"github.com/project-receptor/receptor/plug/wire"
)

// Error says what is wrong with one parameter of one item.
type Error struct {
	Item    string // the item as the user wrote it: "tcp-listener port=x" or "node.yml:12: tcp-listener"
	Param   string // as the user wrote it; empty: the item itself
	Want    string // what was expected
	Got     string // what was there; empty: nothing
	Problem string // the mistake, where it is not a matter of Want and Got
}

// Error implements error: one line that names item, parameter, what was
// expected and what was there.
func (e *Error) Error() string { return e.Item + ": " + e.Text() }

// Text is the line without the item.
func (e *Error) Text() string {
	switch {
	case e.Problem != "":
		return e.Problem
	case e.Got == "":
		return fmt.Sprintf("parameter %s is required: expected %s", e.Param, e.Want)
	default:
		return fmt.Sprintf("parameter %s: expected %s, got %s", e.Param, e.Want, e.Got)
	}
}

// unknown is the text about a parameter that k does not have.
func unknown(k *wire.Kind, name string) string {
	var hint string
	if n := nearest(k, name); n != "" {
		hint = "did you mean " + n + "? "
	}
	return fmt.Sprintf("unknown parameter %s; %s%s", quoteIfNeeded(clip(name)), hint, takes(k))
}

func takes(k *wire.Kind) string {
	if len(k.Params) == 0 {
		return k.Kind + " takes no parameters"
	}
	names := make([]string, len(k.Params))
	for i, p := range k.Params {
		names[i] = p.Name
	}
	return k.Kind + " takes " + strings.Join(names, ", ")
}

// nearest returns the name of the parameter that name may be a slip of, or "".
func nearest(k *wire.Kind, name string) string {
	name = strings.ToLower(clip(name))
	best, bestDistance := "", 3 // two slips at most: more is another word
	for _, p := range k.Params {
		// A slip leaves some of a short word standing.
		if d := distance(name, p.Name); d < bestDistance && d < len(p.Name)/2+1 {
			best, bestDistance = p.Name, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, changes and swaps of
// neighbours that make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// gotLength is how much of a value an error quotes, in bytes.
const gotLength = 80

func clip(s string) string {
	if len(s) <= gotLength {
		return s
	}
	return strings.ToValidUTF8(s[:gotLength], "") + "..."
}

// got renders a raw value for an error.
func got(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", clip(v))
	case []any:
		if len(v) == 1 {
			return "a list"
		}
		return fmt.Sprintf("%d values", len(v))
	case map[string]any, map[any]any:
		return "a map"
	default:
		return clip(fmt.Sprint(v))
	}
}

// quoteIfNeeded quotes what would not read as one word.
func quoteIfNeeded(s string) string {
	q := fmt.Sprintf("%q", s)
	if s == "" || strings.ContainsAny(s, " =") || len(q) != len(s)+2 {
		return q
	}
	return s
}
