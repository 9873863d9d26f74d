package launcher

import (
	"github.com/project-receptor/receptor/cmd/internal/config"
)

// nearest returns the name of the kind that name may be a slip of, or "".
func (c *Catalog) nearest(name string) string {
	candidates := config.Names()
	for _, p := range c.Plugs {
		for _, k := range p.Kinds {
			candidates = append(candidates, k.Kind)
			for _, a := range k.Aliases {
				candidates = append(candidates, a.Kind)
			}
		}
	}
	best, slips := "", 3 // two slips at most: more is another word
	for _, n := range candidates {
		if d := distance(name, n); d < slips && 2*d < len(n) {
			best, slips = n, d
		}
	}
	return best
}

// distance is the number of insertions, deletions and changes that make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
