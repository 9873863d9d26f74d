package integration

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/tests/integration/lab"
)

// nobody is a user without rights, where tests run as root.
const nobody = 65534

// reverseProxy is a web server that passes requests on.
type reverseProxy struct {
	program string
	args    []string // DIR is that of its configuration
	config  string   // DIR, PORT, TARGET, TLS
	tls     string   // in place of TLS if it ends TLS
}

var nginx = reverseProxy{
	program: "nginx",
	args:    []string{"-p", "DIR", "-c", "DIR/config", "-e", "stderr"},
	config: `daemon off;
pid DIR/pid;
worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	server {
		listen 127.0.0.1:PORT TLS
		location /mesh {
			proxy_pass http://TARGET;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
		}
	}
}
`,
	tls: "ssl; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem;",
}

var haproxy = reverseProxy{
	program: "haproxy",
	args:    []string{"-db", "-f", "DIR/config"},
	config: `defaults
	mode http
	timeout connect 10s
	timeout client 60s
	timeout server 60s
	timeout tunnel 60s
frontend web
	bind 127.0.0.1:PORT TLS
	default_backend node
backend node
	server node TARGET
`,
	tls: "ssl crt DIR/both.pem",
}

// start starts it, without rights, before a node, and returns its port. The files
// are those of its certificate, or nil.
func (p reverseProxy) start(ctx context.Context, t *testing.T, target string, files *mtlstest.Files) int {
	t.Helper()
	program, err := exec.LookPath(p.program)
	if err != nil {
		program = "/usr/sbin/" + p.program // not in everybody's PATH
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%s is not installed (Debian: %s)", p.program, p.program)
	}
	dir, err := os.MkdirTemp("", "reverse-proxy")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := freePort(t)
	fill := func(text string) string {
		for from, to := range map[string]string{"DIR": dir, "PORT": strconv.Itoa(port), "TARGET": target} {
			text = strings.ReplaceAll(text, from, to)
		}
		return text
	}
	tls := ""
	if p.program == nginx.program {
		tls = ";"
	}
	if files != nil {
		tls = p.tls
		cert, err := os.ReadFile(files.Cert())
		must(t, err)
		key, err := os.ReadFile(files.Key())
		must(t, err)
		for name, content := range map[string][]byte{"cert.pem": cert, "key.pem": key, "both.pem": append(cert, key...)} {
			must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "config"), []byte(fill(strings.ReplaceAll(p.config, "TLS", tls))), 0o600))
	var args []string
	for _, a := range p.args {
		args = append(args, fill(a))
	}
	cmd := exec.Command(program, args...)
	if os.Geteuid() == 0 {
		for _, name := range []string{".", "config", "cert.pem", "key.pem", "both.pem"} {
			if err := os.Chown(filepath.Join(dir, name), nobody, nobody); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	proc, err := lab.Start(p.program, cmd)
	must(t, err)
	t.Cleanup(func() {
		must(t, proc.Stop())
		if t.Failed() {
			t.Logf("--- %s\n%s", p.program, proc.Output())
		}
	})
	c, err := lab.DialWait(ctx, lab.Local(port))
	must(t, err)
	c.Close()
	return port
}

// Links go through the web servers that stand before nodes.
func TestWebSocketThroughReverseProxies(t *testing.T) {
	t.Parallel()
	for _, proxy := range []reverseProxy{nginx, haproxy} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s TLS=%v", proxy.program, secure), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				port := freePort(t)
				scheme, more := "ws", []string(nil)
				var files *mtlstest.Files
				if secure { // the certificate is the web server's, and names no node
					f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{})
					scheme, files = "wss", &f
					more = []string{"tls=c", "--tls-client", "name=c", "rootcas=" + f.CAs(), "cert=", "key=", "skipreceptornamescheck=true"}
				}
				front := proxy.start(ctx, t, lab.Local(port), files)
				h := startHubAndLeaf(t, linkItems{
					hub:  []string{"--ws-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(port), "path=/mesh"},
					leaf: append([]string{"--ws-peer", "address=" + scheme + "://" + lab.Local(front) + "/mesh"}, more...),
				}, nil)
				want := "none"
				if secure {
					want = "tls"
				}
				if l := h.expectTraffic("leaf"); l.Authentication != want {
					t.Errorf("link %+v", l)
				}
			})
		}
	}
}

// forwardProxy is one that connects for others: HTTP with CONNECT, or SOCKS5, as
// the first byte says. Whatever name it is asked for, it connects to target.
type forwardProxy struct {
	*lab.Server
	target string
	used   atomic.Int32
}

// hubName is a name that only the proxies of tests know.
const hubName = "hub.test:4321"

func startForwardProxy(t *testing.T, target string) *forwardProxy {
	t.Helper()
	p := &forwardProxy{target: target}
	var err error
	p.Server, err = lab.Serve(func(c *net.TCPConn) {
		if err := p.serve(c); err != nil {
			t.Log("the forward proxy:", err)
		}
	})
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func (p *forwardProxy) serve(c *net.TCPConn) error {
	r := bufio.NewReader(c)
	first, err := r.Peek(1)
	if err != nil {
		return err
	}
	ask := connectRequest
	if first[0] == 5 {
		ask = socksRequest
	}
	yes, err := ask(r, c)
	if err != nil {
		return err
	}
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return err
	}
	defer far.Close()
	p.used.Add(1)
	if _, err := io.WriteString(c, yes); err != nil {
		return err
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(far, r)
		_ = far.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(c, far)
	_ = c.CloseWrite()
	both.Wait()
	return nil
}

// connectRequest reads one, and returns what to answer.
func connectRequest(r *bufio.Reader, _ io.Writer) (string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", err
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:password"))
	if req.Method != http.MethodConnect || req.Host != hubName || req.Header.Get("Proxy-Authorization") != want {
		return "", fmt.Errorf("asked %s %s with %v", req.Method, req.Host, req.Header)
	}
	return "HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n", nil
}

func socksRequest(r *bufio.Reader, w io.Writer) (string, error) {
	for _, e := range []struct{ asked, answer string }{
		{"\x05\x02\x00\x02", "\x05\x02"},
		{"\x01\x04user\x08password", "\x01\x00"},
		{"\x05\x01\x00\x03\x08hub.test\x10\xe1", ""},
	} {
		got := make([]byte, len(e.asked))
		if n, err := io.ReadFull(r, got); err != nil || string(got) != e.asked {
			return "", fmt.Errorf("asked %q, %w", got[:n], err)
		}
		if _, err := io.WriteString(w, e.answer); err != nil {
			return "", err
		}
	}
	return "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00", nil
}

// Links go out through the proxies of companies. A socket that a proxy has
// connected is handed over as any other.
func TestLinksThroughForwardProxies(t *testing.T) {
	t.Parallel()
	tcp := func(proxy string) (items []string, mode string, env []string) {
		return []string{"--tcp-peer", "address=" + hubName, "proxy=" + proxy}, "handoff", nil
	}
	ws := func(proxy string) (items []string, mode string, env []string) {
		return []string{"--ws-peer", "address=ws://" + hubName + "/mesh", "proxy=" + proxy}, "relay", nil
	}
	environment := func(proxy string) (items []string, mode string, env []string) {
		return []string{"--ws-peer", "address=ws://" + hubName}, "relay", []string{"HTTP_PROXY=" + proxy, "http_proxy=" + proxy, "NO_PROXY=", "no_proxy="}
	}
	for name, tc := range map[string]struct {
		scheme, kind string
		leaf         func(proxy string) (items []string, mode string, env []string)
	}{
		"TCP, CONNECT":               {"http", "tcp-listener", tcp},
		"TCP, SOCKS5":                {"socks5", "tcp-listener", tcp},
		"WebSocket, CONNECT":         {"http", "ws-listener", ws},
		"WebSocket, SOCKS5":          {"socks5", "ws-listener", ws},
		"WebSocket, environment":     {"http", "ws-listener", environment},
		"WebSocket, environment, S5": {"socks5", "ws-listener", environment},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			proxy := startForwardProxy(t, lab.Local(port))
			items, mode, env := tc.leaf(tc.scheme + "://user:password@" + proxy.Addr())
			h := startHubAndLeaf(t, linkItems{
				hub:  []string{"--" + tc.kind, "bindaddr=127.0.0.1", "port=" + strconv.Itoa(port)},
				leaf: items,
			}, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) })
			if l := h.expectTraffic("leaf"); l.Mode != mode {
				t.Errorf("link %+v, want mode %s", l, mode)
			}
			if proxy.used.Load() == 0 {
				t.Error("the proxy was not used")
			}
			s, err := h.Ctl(h.ctx, "leaf", "status", "--json")
			must(t, err)
			if strings.Contains(s, "password") {
				t.Errorf("the status tells the password of the proxy: %s", s)
			}
		})
	}
}
