package backendws

import (
	"testing"

	"github.com/project-receptor/receptor/plug"
)

func TestOpening(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, head string
		want       plug.Verdict
	}{
		{"a request for a WebSocket", "GET /mesh HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\n", plug.MayBeLink},
		{"and no end of it", "GET /mesh HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n", plug.TooShort},
		{"another request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", plug.NoLink},
		{"another method", "POST /mesh HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", plug.NoLink},
		{"TLS", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", plug.NoLink},
	} {
		for i := range len(c.head) {
			if got := opensWebSocket([]byte(c.head[:i])); got != plug.TooShort && got != c.want {
				t.Errorf("%s, %d bytes: %v", c.name, i, got)
			}
		}
		if got := opensWebSocket([]byte(c.head)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
