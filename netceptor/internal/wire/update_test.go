package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestAppendRoutingUpdate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		u    RoutingUpdate
		want string
	}{
		{
			"no links",
			RoutingUpdate{NodeID: "a", ForwardingNode: "a"},
			`{"NodeID":"a","UpdateID":"","UpdateEpoch":0,"UpdateSequence":0,"Connections":{},"ForwardingNode":"a","SuspectedDuplicate":0}`,
		},
		{
			"numbers and order",
			RoutingUpdate{
				NodeID: "a", UpdateID: "IXwAYIpy", UpdateEpoch: math.MaxUint64, UpdateSequence: 1<<53 + 1,
				Connections:    map[string]float64{"z": 2.5, "b": 1e-7, "c": 1e9, "B": 0.1},
				ForwardingNode: "b", SuspectedDuplicate: math.MaxUint64 - 1,
			},
			`{"NodeID":"a","UpdateID":"IXwAYIpy","UpdateEpoch":18446744073709551615,"UpdateSequence":9007199254740993,` +
				`"Connections":{"B":0.1,"b":1e-7,"c":1000000000,"z":2.5},"ForwardingNode":"b","SuspectedDuplicate":18446744073709551614}`,
		},
		{
			"escapes",
			RoutingUpdate{NodeID: "<a&b>", UpdateID: "ü\"\x01\u2028", ForwardingNode: "a"},
			`{"NodeID":"\u003ca\u0026b\u003e","UpdateID":"ü\"\u0001\u2028","UpdateEpoch":0,"UpdateSequence":0,"Connections":{},"ForwardingNode":"a","SuspectedDuplicate":0}`,
		},
		{
			"extension",
			RoutingUpdate{NodeID: "a", ForwardingNode: "a", Ext: &Ext{V: 1, Caps: []string{CapMux}}},
			`{"NodeID":"a","UpdateID":"","UpdateEpoch":0,"UpdateSequence":0,"Connections":{},"ForwardingNode":"a","SuspectedDuplicate":0,"Ext":{"v":1,"caps":["mux1"]}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := c.u.Append([]byte("before"))
			if want := "before\x01" + c.want; string(got) != want {
				t.Fatalf("\n got %q\nwant %q", got, want)
			}
			u, err := ParseRoutingUpdate(got[len("before"):])
			if err != nil {
				t.Fatal(err)
			}
			if again := u.Append([]byte("before")); !bytes.Equal(again, got) {
				t.Fatalf("round trip\n got %q\nwant %q", again, got)
			}
		})
	}
}

func TestParseRoutingUpdate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       RoutingUpdate
	}{
		{"null", `null`, RoutingUpdate{}},
		{"empty", `{}`, RoutingUpdate{}},
		{"null fields", `{"NodeID":null,"UpdateEpoch":null,"Connections":null,"Ext":null}`, RoutingUpdate{}},
		{
			"letter case, order, unknown keys, spaces",
			` { "extra":{"deep":[1,2]}, "CONNECTIONS":{"Left":1}, "nodeid":"Far", "forwardingNODE":"left", "updateepoch":18446744073709551615 } `,
			RoutingUpdate{NodeID: "Far", ForwardingNode: "left", UpdateEpoch: math.MaxUint64, Connections: map[string]float64{"Left": 1}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u, err := ParseRoutingUpdate([]byte("\x01" + c.body))
			if err != nil || !reflect.DeepEqual(*u, c.want) {
				t.Errorf("got %+v, %v\nwant %+v", u, err, c.want)
			}
		})
	}
}

func TestParseRoutingUpdateRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxNodeID+1)
	for name, m := range map[string]string{
		"nothing":            "",
		"only a type":        "\x01",
		"other type":         "\x02{}",
		"list":               "\x01[]",
		"text":               "\x01abc",
		"followed by more":   "\x01{}{}",
		"epoch as text":      `{"UpdateEpoch":"1"}`,
		"epoch negative":     "\x01" + `{"UpdateEpoch":-1}`,
		"epoch too great":    "\x01" + `{"UpdateEpoch":18446744073709551616}`,
		"epoch fraction":     "\x01" + `{"UpdateEpoch":1.5}`,
		"links as list":      "\x01" + `{"Connections":["a"]}`,
		"cost null":          "\x01" + `{"Connections":{"a":null}}`,
		"cost text":          "\x01" + `{"Connections":{"a":"1"}}`,
		"cost NaN":           "\x01" + `{"Connections":{"a":NaN}}`,
		"cost overflows":     "\x01" + `{"Connections":{"a":1e400}}`,
		"long node":          "\x01" + `{"NodeID":"` + long + `"}`,
		"long neighbour":     "\x01" + `{"ForwardingNode":"` + long + `"}`,
		"long peer":          "\x01" + `{"Connections":{"` + long + `":1}}`,
		"long update ID":     "\x01" + `{"UpdateID":"` + strings.Repeat("x", MaxUpdateID+1) + `"}`,
		"long extension":     "\x01" + `{"Ext":{"v":1,"x":"` + strings.Repeat("x", MaxExt) + `"}}`,
		"extension not ours": "\x01" + `{"Ext":"v1"}`,
		"long message":       "\x01{}" + strings.Repeat(" ", MaxMessage),
		"deep":               "\x01" + strings.Repeat(`{"x":`, 10_000),
		"long number":        "\x01" + `{"UpdateEpoch":` + strings.Repeat("1", 10_000) + `}`,
	} {
		u, err := ParseRoutingUpdate([]byte(m))
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, u)
		} else if len(err.Error()) > 2*256+100 {
			t.Errorf("%s: error of %d bytes", name, len(err.Error()))
		}
	}
}

// Negative costs make the route computation of a legacy node endless; none of
// these may get into ours.
func TestCosts(t *testing.T) {
	t.Parallel()
	for _, cost := range []float64{0, math.Copysign(0, -1), -1, -5, 1e9 + 1, 1e308, math.NaN(), math.Inf(1), math.Inf(-1)} {
		u := RoutingUpdate{NodeID: "evil", Connections: map[string]float64{"victim": cost}}
		err := u.Check()
		if !errors.Is(err, ErrCost) || !strings.Contains(err.Error(), `"evil"`) || !strings.Contains(err.Error(), `"victim"`) {
			t.Errorf("cost %v: %v", cost, err)
		}
		m := u.Append(nil)
		if len(m) == 0 {
			continue // no such number in JSON
		}
		if _, err := ParseRoutingUpdate(m); !errors.Is(err, ErrCost) {
			t.Errorf("cost %v: parsed with %v", cost, err)
		}
	}
	for _, cost := range []float64{math.SmallestNonzeroFloat64, 0.1, 1, 1e9} {
		u := RoutingUpdate{NodeID: "a", Connections: map[string]float64{"b": cost}}
		got, err := ParseRoutingUpdate(u.Append(nil))
		if err != nil || got.Connections["b"] != cost {
			t.Errorf("cost %v: %+v, %v", cost, got, err)
		}
	}
}

// What a later version adds to Ext passes through nodes of this one.
func TestExtKeepsUnknownKeys(t *testing.T) {
	t.Parallel()
	const ext = `"Ext":{"sig":"AAAA","v":2,"caps":["mux1","later"],"link":{"id":7}}}`
	u, err := ParseRoutingUpdate([]byte("\x01" + `{"NodeID":"a",` + ext))
	if err != nil {
		t.Fatal(err)
	}
	if u.Ext.V != 2 || !u.Ext.Has(CapMux) || !u.Ext.Has("later") || u.Ext.Has("other") || (*Ext)(nil).Has(CapMux) {
		t.Errorf("read as %+v", u.Ext)
	}
	u.ForwardingNode = "b"
	if m := u.Append(nil); !bytes.HasSuffix(m, []byte(ext)) {
		t.Errorf("passed on as %s", m[1:])
	}
}

// The examples in docs/wire-extensions.md.
func TestOwnVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/extensions.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Messages []struct {
			Name    string `json:"name"`
			Text    string `json:"text"`
			Hex     string `json:"message_hex"`
			Legacy  string `json:"legacy_text"`
			NotOurs bool   `json:"not_ours"`
			Seed    string `json:"seed_hex"`
			Signed  string `json:"signed_hex"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Messages) < 3 {
		t.Fatalf("%d messages", len(file.Messages))
	}
	for _, v := range file.Messages {
		m := unhex(t, v.Hex)
		if string(m) != "\x01"+v.Text {
			t.Errorf("%s: text and bytes differ", v.Name)
		}
		u, err := ParseRoutingUpdate(m)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if got := u.Append(nil); !bytes.Equal(got, m) {
			t.Errorf("%s:\n got %s\nwant %s", v.Name, got[1:], m[1:])
		}
		if (u.Ext == nil) != v.NotOurs {
			t.Errorf("%s: extension %+v", v.Name, u.Ext)
		}
		if (u.Key() != nil) != (v.Seed != "") || u.Verify() != (v.Seed != "") {
			t.Errorf("%s: key %x, verified %t", v.Name, u.Key(), u.Verify())
		}
		if v.Seed != "" {
			if got := u.signed(u.Ext.raw[:len(u.Ext.raw)-sigLength]); !bytes.Equal(got, unhex(t, v.Signed)) {
				t.Errorf("%s: signed is\n got %x\nwant %s", v.Name, got, v.Signed)
			}
			u.Sign(ed25519.NewKeyFromSeed(unhex(t, v.Seed)), u.Ext.Temporary)
			if got := u.Append(nil); !bytes.Equal(got, m) {
				t.Errorf("%s: signed again\n got %s\nwant %s", v.Name, got[1:], m[1:])
			}
		}
		u.Ext = nil
		if got := u.Append(nil); string(got) != "\x01"+v.Legacy {
			t.Errorf("%s: towards legacy\n got %s\nwant %s", v.Name, got[1:], v.Legacy)
		}
	}
}

func FuzzRoutingUpdate(f *testing.F) {
	for _, v := range vectors(f) {
		if v.message[0] == TypeRoute {
			f.Add(v.message[1:])
		}
	}
	f.Add([]byte(`{"Ext":{"v":1,"caps":["mux1"],"x":[{"<":1}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		u, err := ParseRoutingUpdate(append([]byte{TypeRoute}, body...))
		if err != nil {
			return
		}
		if err := u.Check(); err != nil {
			t.Fatalf("parsed, but %v", err)
		}
		m := u.Append(nil)
		again, err := ParseRoutingUpdate(m)
		if len(m) > MaxMessage {
			return // escapes made it longer than a link can carry
		}
		if u.Ext != nil && err != nil && len(u.Ext.raw) > MaxExt/6 {
			return // the same within Ext
		}
		if err != nil {
			t.Fatalf("%s: %v", m[1:], err)
		}
		if got := again.Append(nil); !bytes.Equal(got, m) {
			t.Fatalf("round trip\n got %s\nwant %s", got[1:], m[1:])
		}
	})
}
