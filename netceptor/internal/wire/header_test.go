package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"
)

func TestVectorsHeader(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		if v.message[0] != TypeData {
			continue
		}
		h, err := ParseHeader(v.message)
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		d, err := AsData(v.message)
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		hash := func(n uint64) string {
			var b [8]byte
			for i := range b {
				b[i] = byte(n >> (56 - 8*i))
			}
			return hex.EncodeToString(b[:])
		}
		got := map[string]string{
			"ttl":          strconv.Itoa(int(h.Hops)),
			"from_hash":    hash(h.From),
			"to_hash":      hash(h.To),
			"from_service": h.FromService.String(),
			"to_service":   h.ToService.String(),
			"payload_len":  strconv.Itoa(len(d.Payload())),
		}
		for key, value := range got {
			want, ok := v.decoded[key].(string)
			if n, isNumber := v.decoded[key].(json.Number); isNumber {
				want, ok = n.String(), true
			}
			if !ok || value != want {
				t.Errorf("%s: %s is %q, want %q", v.name, key, value, want)
			}
		}
		if d.Hops() != h.Hops || d.From() != h.From || d.To() != h.To || d.FromService() != h.FromService || d.ToService() != h.ToService {
			t.Errorf("%s: in place it reads otherwise than %+v", v.name, h)
		}
	}
}

func TestDataEdit(t *testing.T) {
	t.Parallel()
	h := Header{Hops: 2, ECN: 0b111, From: NodeHash("alpha"), To: NodeHash("beta"), FromService: Service{'a'}, ToService: Service{'b'}}
	m := append(h.Append(nil), "payload"...)
	if m[2] != 0b11 || m[3] != 0 {
		t.Fatalf("reserved bytes are %x, want 0300: ECN has two bits", m[2:4])
	}
	d, err := AsData(m)
	if err != nil {
		t.Fatal(err)
	}
	d.ClearReserved()
	for _, left := range []uint8{1, 0} {
		if !d.DecrementHops() || d.Hops() != left {
			t.Fatalf("hops are %d, want %d", d.Hops(), left)
		}
	}
	if d.DecrementHops() || d.Hops() != 0 {
		t.Fatal("an expired message has hops left")
	}
	h.Hops, h.ECN = 0, 0
	if want := append(h.Append(nil), "payload"...); !bytes.Equal(m, want) {
		t.Fatalf("after editing\n got %x\nwant %x", m, want)
	}
}

func TestDataAllocs(t *testing.T) {
	m := (&Header{Hops: 255}).Append(nil)
	if n := testing.AllocsPerRun(100, func() {
		d, err := AsData(m)
		if err != nil || d.To() != d.From() || d.FromService() != d.ToService() || !d.DecrementHops() {
			t.Fail()
		}
		d.ClearReserved()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseHeaderRefusesOtherTypes(t *testing.T) {
	t.Parallel()
	m := (&Header{}).Append(nil)
	m[0] = TypeRoute
	if _, err := ParseHeader(m); err == nil {
		t.Error("a routing update was read as data")
	}
}

func TestService(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Service{
		"":         {},
		"ping":     {'p', 'i', 'n', 'g'},
		"12345678": {'1', '2', '3', '4', '5', '6', '7', '8'},
		"a\x00b":   {'a', 0, 'b'},
		"ünï":      {0xc3, 0xbc, 'n', 0xc3, 0xaf},
	} {
		s, err := ParseService(name)
		if err != nil || s != want || s.String() != name {
			t.Errorf("%q: %v, %v, named %q", name, s, err, s)
		}
	}
	if s, err := ParseService("123456789"); err == nil {
		t.Errorf("a name of 9 bytes became %q", s)
	}
}

func FuzzData(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.message)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		h, err := ParseHeader(m)
		if err != nil {
			return
		}
		d, err := AsData(bytes.Clone(m))
		if err != nil {
			t.Fatal(err)
		}
		d.ClearReserved()
		h.ECN = 0
		if got := append(h.Append(nil), d.Payload()...); !bytes.Equal(got, d) {
			t.Fatalf("rebuilt\n got %x\nwant %x", got, d)
		}
		if s, err := ParseService(h.ToService.String()); err != nil || s != h.ToService {
			t.Fatalf("service %q is not itself again: %v", h.ToService, err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.frame, 3)
	}
	f.Fuzz(func(t *testing.T, stream []byte, _ int) {
		var again []byte
		rest := stream
		for {
			message, tail, ok := CutFrame(rest)
			if !ok {
				break
			}
			again, rest = AppendFrame(again, message), tail
		}
		if !bytes.Equal(append(again, rest...), stream) {
			t.Fatalf("frames of %x became %x", stream, again)
		}
	})
}
