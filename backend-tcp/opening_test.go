package backendtcp

import (
	"encoding/binary"
	"testing"

	"github.com/project-receptor/receptor/plug"
)

func TestOpening(t *testing.T) {
	t.Parallel()
	frame := func(message string) string {
		return string(binary.LittleEndian.AppendUint16(nil, uint16(len(message)))) + message //nolint:gosec // short
	}
	update := frame("\x01{\"NodeID\":\"alpha\"}")
	for _, c := range []struct {
		name, head string
		want       plug.Verdict
	}{
		{"a routing update", update, plug.MayBeLink},
		{"with more behind it", update + "\x00\x00", plug.MayBeLink},
		{"all but its last byte", update[:len(update)-1], plug.TooShort},
		{"nothing", "", plug.TooShort},
		{"a ClientHello", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", plug.MayBeLink},
		{"a part of one", "\x16\x03\x01\x02\x00\x01\x00\x00", plug.TooShort},
		{"another record of TLS", "\x16\x03\x01\x00\x04\x02\x00\x00\x00", plug.NoLink},
		{"empty frames", "\x00\x00\x00\x00\x00\x00", plug.NoLink},
		{"an advertisement", frame("\x02{\"NodeID\":\"alpha\"}"), plug.NoLink},
		{"a request", "GET / HTTP/1.1\r\n", plug.NoLink},
		{"SSH", "SSH-2.0-x\r\n", plug.NoLink},
	} {
		for i := range len(c.head) {
			if got := opening([]byte(c.head[:i])); got != plug.TooShort && got != c.want {
				t.Errorf("%s, %d bytes: %v", c.name, i, got)
			}
		}
		if got := opening([]byte(c.head)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
