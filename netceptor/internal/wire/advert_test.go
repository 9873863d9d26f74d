package wire

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAppendAdvert(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 16, 44, 34, 805358733, time.FixedZone("", 2*60*60))
	for _, c := range []struct {
		name string
		a    Advert
		want string
	}{
		{
			"all keys",
			Advert{NodeID: "a", Service: "s", Time: at.UTC()},
			`{"NodeID":"a","Service":"s","Time":"2026-11-22T14:44:34.805358733Z","ConnType":0,"Tags":null,"WorkCommands":null,"Cancel":false}`,
		},
		{
			"sorted tags, zone",
			Advert{
				NodeID: "a", Service: "s", Time: at, ConnType: ConnStreamTLS, Cancel: true,
				Tags: map[string]string{"z": "1", "address": "<b>", "Z": ""}, WorkCommands: []WorkCommand{{"sh", true}, {"py", false}},
			},
			`{"NodeID":"a","Service":"s","Time":"2026-11-22T16:44:34.805358733+02:00","ConnType":2,"Tags":{"Z":"","address":"\u003cb\u003e","z":"1"},` +
				`"WorkCommands":[{"WorkType":"sh","Secure":true},{"WorkType":"py","Secure":false}],"Cancel":true}`,
		},
		{
			"gone",
			Advert{NodeID: "a", Service: "s", Time: at.UTC(), Gone: true},
			`{"NodeID":"a","Service":"s","Time":"2026-11-22T14:44:34.805358733Z","ConnType":0,"Tags":null,"WorkCommands":null,"Cancel":false,"Gone":true}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := c.a.Append(nil)
			if string(m) != "\x02"+c.want {
				t.Fatalf("\n got %s\nwant %s", m[1:], c.want)
			}
			a, err := ParseAdvert(m)
			if err != nil {
				t.Fatal(err)
			}
			if !a.Time.Equal(c.a.Time) {
				t.Errorf("time %v, want %v", a.Time, c.a.Time)
			}
			a.Time = c.a.Time
			if !reflect.DeepEqual(*a, c.a) {
				t.Errorf("round trip\n got %+v\nwant %+v", *a, c.a)
			}
		})
	}
}

func TestParseAdvertTolerates(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"null lists":             `{"NodeID":"a","Service":"s","Time":"2026-11-22T10:00:00Z","Tags":null,"WorkCommands":null}`,
		"missing, unknown, case": `{"service":"s","NODEID":"a","time":"2026-11-22T12:00:00+02:00","Zed":[1]}`,
	} {
		a, err := ParseAdvert([]byte("\x02" + body))
		if err != nil || a.NodeID != "a" || a.Service != "s" || !a.Time.Equal(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestParseAdvertRefuses(t *testing.T) {
	t.Parallel()
	const at = `"Time":"2026-11-22T10:00:00Z"`
	for name, m := range map[string]string{
		"nothing":      "",
		"only a type":  "\x02",
		"null":         "\x02null",
		"no keys":      "\x02{}",
		"only cancel":  "\x02" + `{"Cancel":true}`,
		"other type":   "\x01" + `{"NodeID":"a","Service":"s",` + at + `}`,
		"no node":      "\x02" + `{"Service":"s",` + at + `}`,
		"no service":   "\x02" + `{"NodeID":"a",` + at + `}`,
		"no time":      "\x02" + `{"NodeID":"a","Service":"s"}`,
		"long node":    "\x02" + `{"NodeID":"` + strings.Repeat("a", MaxNodeID+1) + `","Service":"s",` + at + `}`,
		"long service": "\x02" + `{"NodeID":"a","Service":"123456789",` + at + `}`,
		"bad time":     "\x02" + `{"NodeID":"a","Service":"s","Time":"yesterday"}`,
		"time number":  "\x02" + `{"NodeID":"a","Service":"s","Time":1}`,
		"tags list":    "\x02" + `{"NodeID":"a","Service":"s","Tags":[],` + at + `}`,
	} {
		if a, err := ParseAdvert([]byte(m)); err == nil {
			t.Errorf("%s: accepted as %+v", name, a)
		}
	}
}

func FuzzAdvert(f *testing.F) {
	for _, v := range vectors(f) {
		if v.message[0] == TypeAdvert {
			f.Add(v.message[1:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ParseAdvert(append([]byte{TypeAdvert}, body...))
		if err != nil {
			return
		}
		m := a.Append(nil)
		if len(m) == 0 || len(m) > MaxMessage {
			t.Skip("not for a link")
		}
		again, err := ParseAdvert(m)
		if err != nil {
			t.Fatalf("%s: %v", m[1:], err)
		}
		if got := again.Append(nil); !bytes.Equal(got, m) {
			t.Fatalf("round trip\n got %s\nwant %s", got[1:], m[1:])
		}
	})
}
