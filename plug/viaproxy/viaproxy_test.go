package viaproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// exchange is what a proxy reads, and says then.
type exchange struct{ reads, says string }

func proxy(t *testing.T, script ...exchange) (addr string, said <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done, all := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Error(err)
		}
		for _, e := range script {
			got := make([]byte, len(e.reads))
			if n, err := io.ReadFull(c, got); err != nil || string(got) != e.reads {
				t.Errorf("the proxy got %q, %v; want %q", got[:n], err, e.reads)
				return
			}
			if _, err := io.WriteString(c, e.says); err != nil {
				return
			}
		}
		close(all)
		_, _ = io.Copy(io.Discard, c) // until the other side ends
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), all
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        "",
		"http://h:1":              "",
		"http://h/":               "",
		"socks5://u:p@[::1]:1080": "",
		"socks5h://h":             "",
		"h:1":                     "expected a proxy of scheme http or socks5, got h:1",
		"https://u:secret@h":      "expected a proxy of scheme http or socks5, got https://u:xxxxx@h",
		"http://h:1/path":         "expected a proxy as http://host:port, got http://h:1/path",
		"http://":                 "expected a proxy as http://host:port, got http:",
		"http://u:secret@h:x":     "expected a URL such as http://host:port or socks5://host:port",
		"http://u:" + strings.Repeat("p", 256) + "@h": "name and password for a proxy have at most 255 bytes each",
	} {
		_, err := Parse(text)
		if got := errorText(err); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What the target says right behind the proxy's answer is the connection's.
func TestDial(t *testing.T) {
	t.Parallel()
	const (
		connectHead = "CONNECT h:7 HTTP/1.1\r\nHost: h:7\r\n"
		asksDomain  = "\x05\x01\x00\x03\x01h\x00\x07"
	)
	for name, tc := range map[string]struct {
		scheme, user, address string
		script                []exchange
		want                  string // part of the error
	}{
		"CONNECT":               {"http", "", "h:7", []exchange{{connectHead + "\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"}}, ""},
		"CONNECT with password": {"http", "u:p%40@", "h:7", []exchange{{connectHead + "Proxy-Authorization: Basic dTpwQA==\r\n\r\n", "HTTP/1.0 200 Connection established\r\n\r\nhello"}}, ""},
		"CONNECT refused":       {"http", "", "h:7", []exchange{{connectHead + "\r\n", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"}}, `CONNECT h:7 was answered "HTTP/1.1 407 Proxy Authentication Required"`},
		"no HTTP":               {"http", "", "h:7", []exchange{{connectHead + "\r\n", "220 smtp\r\n\r\n"}}, `was answered "220 smtp"`},
		"endless head":          {"http", "", "h:7", []exchange{{connectHead + "\r\n", "HTTP/1.1 200 " + strings.Repeat("x", maxAnswer)}}, "its head has more than"},
		"no address":            {"http", "", "h\r\nX: y:7", nil, "is no address"},
		"SOCKS5":                {"socks5", "", "h:7", []exchange{{"\x05\x01\x00", "\x05\x00"}, {asksDomain, "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09hello"}}, ""},
		"SOCKS5 IPv4":           {"socks5", "", "127.0.0.1:7", []exchange{{"\x05\x01\x00", "\x05\x00"}, {"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x07", "\x05\x00\x00\x03\x02hh\x00\x09hello"}}, ""},
		"SOCKS5 IPv6":           {"socks5", "", "[::1]:7", []exchange{{"\x05\x01\x00", "\x05\x00"}, {"\x05\x01\x00\x04" + strings.Repeat("\x00", 15) + "\x01\x00\x07", "\x05\x00\x00\x04" + strings.Repeat("\x00", 18) + "hello"}}, ""},
		"SOCKS5 with password":  {"socks5h", "u:p@", "h:7", []exchange{{"\x05\x02\x00\x02", "\x05\x02"}, {"\x01\x01u\x01p", "\x01\x00"}, {asksDomain, "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello"}}, ""},
		"SOCKS5 wrong password": {"socks5", "u:p@", "h:7", []exchange{{"\x05\x02\x00\x02", "\x05\x02"}, {"\x01\x01u\x01p", "\x01\x01"}}, "does not take the name and password"},
		"SOCKS5 wants password": {"socks5", "", "h:7", []exchange{{"\x05\x01\x00", "\x05\xff"}}, "another way to prove who we are"},
		"SOCKS5 refused":        {"socks5", "", "h:7", []exchange{{"\x05\x01\x00", "\x05\x00"}, {asksDomain, "\x05\x05"}}, "connection refused"},
		"SOCKS4":                {"socks5", "", "h:7", []exchange{{"\x05\x01\x00", "\x00\x5b"}}, "does not speak SOCKS5"},
		"SOCKS5 bad address":    {"socks5", "", "h:7", []exchange{{"\x05\x01\x00", "\x05\x00"}, {asksDomain, "\x05\x00\x00\x02\x00"}}, "address of type 2"},
		"ends early":            {"socks5", "", "h:7", []exchange{{"\x05\x01\x00", "\x05\x00"}, {asksDomain, "\x05\x00\x00"}}, "given up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, said := proxy(t, tc.script...)
			u, err := Parse(tc.scheme + "://" + tc.user + addr)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if strings.Contains(tc.want, "given up") {
				ctx = cancelAfter(t, said, errors.New("given up"))
			}
			c, err := Dial(ctx, u, tc.address)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want %s", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("a %T cannot be handed over", c)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
				t.Errorf("the target said %q, %v", got, err)
			}
		})
	}
}

// A proxy that is silent holds nobody longer than the context.
func TestDialIsBounded(t *testing.T) {
	t.Parallel()
	addr, said := proxy(t, exchange{"CONNECT h:7 HTTP/1.1\r\n", "HTTP/1.1 "})
	u, err := url.Parse("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("no more patience")
	if _, err := Dial(cancelAfter(t, said, why), u, "h:7"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// cancelAfter is a context that ends when a proxy has said all that it says.
func cancelAfter(t *testing.T, said <-chan struct{}, why error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		select {
		case <-said:
		case <-t.Context().Done():
		}
		cancel(why)
	}()
	return ctx
}

// Every answer that is cut off is an error.
func TestCutAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		read   func(io.Reader) error
	}{
		"CONNECT": {"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", func(r io.Reader) error { _, err := readHead(r); return err }},
		"IPv4":    {"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09", readReply},
		"IPv6":    {"\x05\x00\x00\x04" + strings.Repeat("x", 18), readReply},
		"name":    {"\x05\x00\x00\x03\x02hh\x00\x09", readReply},
		"no name": {"\x05\x00\x00\x03\x00\x00\x09", readReply},
	} {
		for n := range tc.answer {
			if err := tc.read(strings.NewReader(tc.answer[:n])); err == nil {
				t.Errorf("%s: %d bytes of %d are an answer", name, n, len(tc.answer))
			}
		}
		r := strings.NewReader(tc.answer + "rest")
		if err := tc.read(r); err != nil || r.Len() != len("rest") {
			t.Errorf("%s: %v, with %d bytes left", name, err, r.Len())
		}
	}
}

// Whatever a proxy answers, nothing is read beyond the answer, and nothing panics.
func FuzzReply(f *testing.F) {
	f.Add([]byte("\x05\x00\x00\x03\x02hh\x00\x09"))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nmore"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		_ = readReply(r)
		if used := len(b) - r.Len(); used > 4+1+255+2 {
			t.Errorf("%d bytes were read", used)
		}
		head, err := readHead(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, []byte(head)) {
			t.Errorf("%q is not the head", head)
		}
	})
}
