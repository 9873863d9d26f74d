package plugtest

import "github.com/project-receptor/receptor/plug/wire"

// body decodes what came with a LINK or DIAL, whichever way it came.
type body struct {
	t    TB
	from interface{ Decode(v any) error }
}

func (b body) decode(v any) {
	b.t.Helper()
	if err := b.from.Decode(v); err != nil {
		b.t.Fatal(err)
	}
}

// LinkBody returns the body of LINK.
func (b body) LinkBody() (l wire.Link) {
	b.t.Helper()
	b.decode(&l)
	return l
}

// DialBody returns the body of DIAL.
func (b body) DialBody() (d wire.Dial) {
	b.t.Helper()
	b.decode(&d)
	return d
}
