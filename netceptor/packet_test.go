package netceptor

import (
	"bytes"
	"testing"
)

// A datagram that is kept is a copy, in a buffer that it fits and half fills, unless it
// is small.
func TestPacketKeep(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2047, 2048, 2049, 4096, 4097, 40000, maxPayload} {
		b := bytes.Repeat([]byte{7}, n)
		p := packet{data: b}.keep()
		clear(b)
		if len(p.data) != n || !bytes.Equal(p.data, bytes.Repeat([]byte{7}, n)) {
			t.Errorf("%d bytes became %d", n, len(p.data))
		}
		if size := len(*p.held); size < n || size > max(2*n, 2048) {
			t.Errorf("%d bytes lie in a buffer of %d", n, size)
		}
		p.release()
	}
}

// TestPacketKeepAllocs: datagrams that go as they come take no memory. The race detector
// has pools lose some of what is put back.
func TestPacketKeepAllocs(t *testing.T) {
	small, large := make([]byte, 1400), make([]byte, 60000)
	if n := testing.AllocsPerRun(100, func() {
		a, b := packet{data: small}.keep(), packet{data: large}.keep()
		a.release()
		b.release()
	}); n >= 2 {
		t.Errorf("two datagrams take %v allocations", n)
	}
}
