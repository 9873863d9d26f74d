package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

var signKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func signedUpdate() *RoutingUpdate {
	u := &RoutingUpdate{
		NodeID: "a", UpdateID: "7HaE19AE", UpdateEpoch: 30121241004536576, UpdateSequence: 2,
		Connections: map[string]float64{"b": 1, "c<ü>": 2.5}, ForwardingNode: "a", Ext: &Ext{V: 1, Caps: []string{CapMux}},
	}
	u.Sign(signKey, true)
	return u
}

func TestSignatureOutlivesRelays(t *testing.T) {
	t.Parallel()
	u := signedUpdate()
	for range 3 {
		if !u.Verify() || !bytes.Equal(u.Key(), signKey.Public().(ed25519.PublicKey)) || !u.Ext.Temporary || !u.Ext.Has(CapMux) {
			t.Fatalf("read as %+v", u)
		}
		u.ForwardingNode += "x"
		again, err := ParseRoutingUpdate(u.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		u = again
	}
	u.Sign(signKey, false)
	if !u.Verify() || u.Ext.Temporary {
		t.Error("signed again, it cannot be verified")
	}
}

func TestSignatureCoversAllButTheSender(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(u *RoutingUpdate){
		"node":           func(u *RoutingUpdate) { u.NodeID = "b" },
		"ID":             func(u *RoutingUpdate) { u.UpdateID += "x" },
		"bytes moved":    func(u *RoutingUpdate) { u.NodeID, u.UpdateID = u.NodeID+u.UpdateID[:1], u.UpdateID[1:] },
		"epoch":          func(u *RoutingUpdate) { u.UpdateEpoch++ },
		"sequence":       func(u *RoutingUpdate) { u.UpdateSequence++ },
		"suspicion":      func(u *RoutingUpdate) { u.SuspectedDuplicate = 1 },
		"cost":           func(u *RoutingUpdate) { u.Connections = map[string]float64{"b": 1, "c<ü>": 2.25} },
		"link added":     func(u *RoutingUpdate) { u.Connections = maps.Clone(u.Connections); u.Connections["d"] = 1 },
		"link taken":     func(u *RoutingUpdate) { u.Connections = map[string]float64{"b": 1} },
		"links taken":    func(u *RoutingUpdate) { u.Connections = nil },
		"capability":     func(u *RoutingUpdate) { u.Ext = edited(u.Ext, "mux1", "mux2") },
		"temporary":      func(u *RoutingUpdate) { u.Ext = edited(u.Ext, `"temp":true`, `"temp":false`) },
		"key of another": func(u *RoutingUpdate) { u.Ext = edited(u.Ext, `"key":"6`, `"key":"7`) },
		"something more": func(u *RoutingUpdate) { u.Ext = edited(u.Ext, `,"sig"`, `,"x":1,"sig"`) },
		"another signature": func(u *RoutingUpdate) {
			u.Ext = edited(u.Ext, `,"sig":"`+string(u.Ext.raw[len(u.Ext.raw)-90]), `,"sig":"`+other(u.Ext.raw[len(u.Ext.raw)-90]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := signedUpdate()
			change(u)
			if u.Ext == nil {
				t.Fatal("the change cannot be read")
			}
			if u.Verify() {
				t.Errorf("verified: %s", u.Append(nil)[1:])
			}
		})
	}
}

// edited is e with a change of its text; nil: it was no change, or cannot be read.
func edited(e *Ext, old, with string) *Ext {
	text := strings.Replace(string(e.raw), old, with, 1)
	var changed Ext
	if text == string(e.raw) || json.Unmarshal([]byte(text), &changed) != nil {
		return nil
	}
	return &changed
}

func other(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestKeyNeedsASignatureAtTheEnd(t *testing.T) {
	t.Parallel()
	text := string(signedUpdate().Ext.raw)
	begin := strings.Index(text, sigBegin)
	sig := text[begin : len(text)-1]
	for name, ext := range map[string]string{
		"none":            text[:begin] + "}",
		"short":           strings.Replace(text, sig, sig[:len(sig)-9]+`"`, 1),
		"not the last":    text[:len(text)-1] + `,"x":1}`,
		"first":           "{" + sig[1:] + "," + text[1:begin] + "}",
		"in another key":  text[:begin] + `,"x":{"y":1` + sig + `}}`,
		"short key":       strings.Replace(text, `"key":"`, `"key":"AAAA","KEY":"`, 1)[:begin] + `,"key":"AAAA"` + sig + "}",
		"another at end":  text[:begin] + sig + `,"Sig":"` + strings.Repeat("A", 86) + `=="}`,
		"escaped letters": strings.Replace(text, `"sig"`, `"\u0073ig"`, 1),
	} {
		if u, err := ParseRoutingUpdate([]byte("\x01" + `{"NodeID":"a","Ext":` + ext + `}`)); err == nil {
			t.Errorf("%s: %s was read as %+v", name, ext, u.Ext)
		}
	}
	spaced := strings.NewReplacer(`,"sig":`, "\n , \"sig\" : ", `"v":1`, ` "v" : 1`).Replace(text)
	u, err := ParseRoutingUpdate([]byte("\x01" + `{"NodeID":"a","Ext":` + spaced + `}`))
	if err != nil || string(u.Ext.raw) != text {
		t.Errorf("with white space: %v", err)
	}
}

// What a node spends on each update that is news.
func BenchmarkVerify(b *testing.B) {
	u := signedUpdate()
	b.ReportAllocs()
	for b.Loop() {
		if !u.Verify() {
			b.Fatal("not verified")
		}
	}
}

func BenchmarkParseSigned(b *testing.B) {
	m := signedUpdate().Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRoutingUpdate(m); err != nil {
			b.Fatal(err)
		}
	}
}
