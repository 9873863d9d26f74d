package backendudp

import "testing"

// What may be one buffer: messages of one size, of which only the last may be
// shorter, and not more than the kernel takes.
func TestSegments(t *testing.T) {
	t.Parallel()
	sizes := func(s ...int) (msgs [][]byte) {
		for _, n := range s {
			msgs = append(msgs, make([]byte, n))
		}
		return msgs
	}
	var many []int
	for range 2 * maxSegments {
		many = append(many, 1000)
	}
	for name, c := range map[string]struct {
		msgs [][]byte
		want int
	}{
		"one":                  {sizes(1), 1},
		"equal":                {sizes(10, 10, 10), 3},
		"the last is shorter":  {sizes(10, 10, 3, 3), 3},
		"the second is longer": {sizes(10, 11), 1},
		"it may not fit":       {sizes(largestPacket+1, largestPacket+1), 1},
		"as many as may be":    {sizes(many...), maxSegments},
		"as much as may be":    {sizes(append([]int{1500}, many...)...), 2},
	} {
		if got := segments(c.msgs); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	var much [][]byte
	for range maxSegments {
		much = append(much, make([]byte, largestPacket))
	}
	if got := segments(much); got != maxSegmented/largestPacket {
		t.Errorf("%d of %d bytes", got, largestPacket)
	}
}

// The size of what was put together is read from the control message that is
// written for what is to be cut, but for its type and width.
func TestSegmentSize(t *testing.T) {
	t.Parallel()
	if got := segmentSize(nil, 100); got != 100 {
		t.Errorf("without a control message: %d", got)
	}
	if got := segmentSize(nil, 0); got != 1 {
		t.Errorf("of nothing: %d: the pieces of nothing must have a size", got)
	}
	for n := range 16 {
		if got := segmentSize(make([]byte, n), 100); got != 100 {
			t.Errorf("with %d bytes that are no control message: %d", n, got)
		}
	}
}
