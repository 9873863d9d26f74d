package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestSum(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"numbers":  numbered(300),
		"all ones": bytes.Repeat([]byte{0xff}, 300), // every addition carries
		"zeros":    make([]byte, 300),
	} {
		for n := range b {
			for _, start := range []int{0, 1, 7} {
				piece := b[min(start, n):n]
				var got [2]byte
				putChecksum(got[:], sum(0, piece))
				want := slowChecksum(piece)
				if g := binary.BigEndian.Uint16(got[:]); g != want {
					t.Fatalf("%s, bytes %d to %d: %04x, want %04x", name, start, n, g, want)
				}
			}
		}
	}
}

func TestSumByPieces(t *testing.T) {
	t.Parallel()
	b := numbered(201)
	b[2], b[3], b[4], b[5], b[6], b[7] = 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfd
	want := fold(sum(0, b))
	for at := 8; at < len(b); at += 2 {
		acc := sum(0, b[:2])
		acc = sum16(acc, 0xfffe)
		acc = sum32(acc, 0xfffffffd)
		if got := fold(sum(sum(acc, b[8:at]), b[at:])); got != want {
			t.Fatalf("cut at %d: %04x, want %04x", at, got, want)
		}
	}
	for _, acc := range []uint64{1<<64 - 1, 1<<64 - 2} {
		if got, want := fold(sum16(acc, 1)), fold(sum(acc, []byte{0, 1})); got != want {
			t.Errorf("%x and one more is %04x, want %04x", acc, got, want)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, size := range []int{40, 1400, 60000} {
		b.Run(itoa(size), func(b *testing.B) {
			p := numbered(size)
			b.SetBytes(int64(size))
			var acc uint64
			for b.Loop() {
				acc = sum(acc, p)
			}
			if acc == 0 {
				b.Fatal("the sum of something is nothing")
			}
		})
	}
}
