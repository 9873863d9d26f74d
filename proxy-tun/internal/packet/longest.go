package packet

// Longest is the length of the longest packet that Split would make of p. It checks all
// that h says of p.
func Longest(h Header, p []byte) (int, error) {
	if !h.Super() {
		return h.alone(p)
	}
	c, err := h.cutter(p)
	if err != nil {
		return 0, err
	}
	return c.longest(h, p), nil
}

func (c *cutter) longest(h Header, p []byte) int {
	return c.headers + min(int(h.GSOSize), len(p)-c.headers)
}
