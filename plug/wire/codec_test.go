package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/plug/wire"
)

// codec is Append and Parse of one fixed header, for tests of all of them.
type codec struct {
	hex   string // an encoded header
	parse func([]byte) (appended []byte, n int, err error)
}

// appended is what parse of a codec returns: the header encoded again.
func appended[T interface{ Append([]byte) []byte }](h T, n int, err error) ([]byte, int, error) {
	if err != nil {
		return nil, n, err
	}
	return h.Append(nil), n, nil
}

func parsePreamble(b []byte) ([]byte, int, error) { return appended(wire.ParsePreamble(b)) }
func parseHeader(b []byte) ([]byte, int, error)   { return appended(wire.ParseHeader(b)) }
func parseRecord(b []byte) ([]byte, int, error)   { return appended(wire.ParseRecordHeader(b)) }

var codecs = map[string]codec{
	"preamble session": {"52435054504c5547 01 01 0000", parsePreamble},
	"preamble data":    {"52435054504c5547 01 02 0000", parsePreamble},
	"request":          {"00000102 10 00 00 00 00000003", parseHeader},
	"response":         {"00100000 03 01 00 00 ffffffff", parseHeader},
	"error":            {"00000002 20 03 00 00 00000001", parseHeader},
	"notification":     {"00000002 03 00 04 00 00000000", parseHeader},
	"data record":      {"ffff 01 00 00000000", parseRecord},
	"end record":       {"0000 02 00 00000000", parseRecord},
	"packet record":    {"05dc 01 03 01020304", parseRecord},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for name, c := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := unhex(t, c.hex)
			got, n, err := c.parse(append(bytes.Clone(want), 0xee))
			if err != nil || n != len(want) || !bytes.Equal(got, want) {
				t.Errorf("got %x, %d, %v; want %x", got, n, err, want)
			}
			for i := range want {
				if _, n, err := c.parse(want[:i]); !errors.Is(err, wire.ErrShort) || n != 0 {
					t.Errorf("%d bytes: %d, %v; want ErrShort", i, n, err)
				}
			}
		})
	}
}

func TestHeaderFields(t *testing.T) {
	t.Parallel()
	p, _, err := wire.ParsePreamble(unhex(t, "52435054504c5547 01 02 0000"))
	if want := (wire.Preamble{Major: 1, Kind: wire.ConnData}); err != nil || p != want {
		t.Errorf("preamble %+v, %v; want %+v", p, err, want)
	}
	h, _, err := wire.ParseHeader(unhex(t, "00000102 10 03 02 00 01020304"))
	if want := (wire.Header{Length: 0x102, Type: wire.TypeLink, Flags: wire.FlagResponse | wire.FlagError, FDs: 2, ID: 0x01020304}); err != nil || h != want {
		t.Errorf("header %+v, %v; want %+v", h, err, want)
	}
	r, _, err := wire.ParseRecordHeader(unhex(t, "05dc 01 03 01020304"))
	if want := (wire.RecordHeader{Length: 1500, Type: wire.RecordData, Flags: 3, Peer: 0x01020304}); err != nil || r != want {
		t.Errorf("record %+v, %v; want %+v", r, err, want)
	}
}

// What is wrong is refused, and the error names the field and what was expected.
func TestMalformedHeaders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		codec
		want string
	}{
		"magic":             {codec{"52435054504c5548 01 01 0000", parsePreamble}, "plug: magic is \"RCPTPLUH\", want RCPTPLUG"},
		"kind 0":            {codec{"52435054504c5547 01 00 0000", parsePreamble}, "plug: connection kind is 0, want 1 or 2"},
		"kind 3":            {codec{"52435054504c5547 01 03 0000", parsePreamble}, "plug: connection kind is 3, want 1 or 2"},
		"preamble reserved": {codec{"52435054504c5547 01 01 0001", parsePreamble}, "plug: reserved bytes of the preamble is 1, want 0"},
		"length":            {codec{"00100001 01 00 00 00 00000001", parseHeader}, "plug: body length is 1048577, want at most 1048576"},
		"flag bit 2":        {codec{"00000002 01 04 00 00 00000001", parseHeader}, "plug: flags is 4, want 0, 1 or 3"},
		"error, no answer":  {codec{"00000002 01 02 00 00 00000001", parseHeader}, "plug: flags is 2, want 0, 1 or 3"},
		"answer without id": {codec{"00000002 01 01 00 00 00000000", parseHeader}, "plug: id of a response is 0, want that of a request"},
		"descriptors":       {codec{"00000002 01 00 05 00 00000001", parseHeader}, "plug: descriptors is 5, want at most 4"},
		"header reserved":   {codec{"00000002 01 00 00 01 00000001", parseHeader}, "plug: reserved byte of the frame header is 1, want 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, n, err := c.parse(unhex(t, c.hex))
			var f *wire.FormatError
			if !errors.As(err, &f) || n != 0 || err.Error() != c.want {
				t.Errorf("got %d, %v\nwant %s", n, err, c.want)
			}
		})
	}
}

// A major that is not known here is told to the caller, whatever follows it.
func TestOtherMajor(t *testing.T) {
	t.Parallel()
	p, n, err := wire.ParsePreamble(unhex(t, "52435054504c5547 02 09 0102"))
	if err != nil || n != wire.PreambleSize || p.Major != 2 {
		t.Errorf("got %+v, %d, %v", p, n, err)
	}
}

func TestCheckStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h  wire.RecordHeader
		ok bool
	}{
		"data":             {wire.RecordHeader{Type: wire.RecordData, Length: wire.MaxRecord}, true},
		"empty data":       {wire.RecordHeader{Type: wire.RecordData}, true},
		"end":              {wire.RecordHeader{Type: wire.RecordEnd}, true},
		"end with payload": {wire.RecordHeader{Type: wire.RecordEnd, Length: 1}, false},
		"reset":            {wire.RecordHeader{Type: wire.RecordReset, Length: wire.MaxReset}, true},
		"long reset":       {wire.RecordHeader{Type: wire.RecordReset, Length: wire.MaxReset + 1}, false},
		"type 0":           {wire.RecordHeader{}, false},
		"peer":             {wire.RecordHeader{Type: wire.RecordPeer}, false},
		"gone":             {wire.RecordHeader{Type: wire.RecordGone}, false},
		"flags":            {wire.RecordHeader{Type: wire.RecordData, Flags: 1}, false},
		"peer handle":      {wire.RecordHeader{Type: wire.RecordData, Peer: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.h.CheckStream(); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCheckPacket(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h  wire.RecordHeader
		ok bool
	}{
		"data":             {wire.RecordHeader{Type: wire.RecordData, Length: wire.MaxRecord, Peer: 1}, true},
		"empty data":       {wire.RecordHeader{Type: wire.RecordData, Peer: 2}, true},
		"data with ECN":    {wire.RecordHeader{Type: wire.RecordData, Flags: wire.ECNMask, Peer: 1}, true},
		"data with flags":  {wire.RecordHeader{Type: wire.RecordData, Flags: wire.ECNMask + 1, Peer: 1}, false},
		"data of no flow":  {wire.RecordHeader{Type: wire.RecordData}, false},
		"peer":             {wire.RecordHeader{Type: wire.RecordPeer, Length: wire.MaxPeer, Peer: 1<<32 - 1}, true},
		"long peer":        {wire.RecordHeader{Type: wire.RecordPeer, Length: wire.MaxPeer + 1, Peer: 1}, false},
		"peer with ECN":    {wire.RecordHeader{Type: wire.RecordPeer, Flags: 1, Peer: 1}, false},
		"peer of no flow":  {wire.RecordHeader{Type: wire.RecordPeer}, false},
		"gone":             {wire.RecordHeader{Type: wire.RecordGone, Length: wire.MaxReset, Peer: 1}, true},
		"gone that is nil": {wire.RecordHeader{Type: wire.RecordGone, Peer: 1}, true},
		"long gone":        {wire.RecordHeader{Type: wire.RecordGone, Length: wire.MaxReset + 1, Peer: 1}, false},
		"gone with ECN":    {wire.RecordHeader{Type: wire.RecordGone, Flags: 1, Peer: 1}, false},
		"gone of no flow":  {wire.RecordHeader{Type: wire.RecordGone}, false},
		"type 0":           {wire.RecordHeader{Peer: 1}, false},
		"end":              {wire.RecordHeader{Type: wire.RecordEnd, Peer: 1}, false},
		"reset":            {wire.RecordHeader{Type: wire.RecordReset, Peer: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.h.CheckPacket(); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzHeaders(f *testing.F) {
	for _, c := range codecs {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, c := range map[string]codec{
			"preamble": {parse: parsePreamble}, "header": {parse: parseHeader}, "record": {parse: parseRecord},
		} {
			again, n, err := c.parse(b)
			if err != nil {
				if n != 0 {
					t.Errorf("%s: used %d bytes and failed", name, n)
				}
				continue
			}
			other := name == "preamble" && b[8] != wire.Major // not ours to keep
			if !other && !bytes.Equal(again, b[:n]) {
				t.Errorf("%s: %x became %x", name, b[:n], again)
			}
		}
	})
}

func TestTypeNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for i := range 256 {
		name := wire.Type(i).String()
		if name == "" || seen[name] {
			t.Errorf("type %#x is called %q", i, name)
		}
		seen[name] = true
	}
	if got := wire.Type(0x99).String(); got != "type 0x99" {
		t.Errorf("got %q", got)
	}
}
