package ctl

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

const pongFromB = "Reply from b in 200µs\n"

// listenTCP listens on the loopback until the test ends.
func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// serveTLS runs a control server that wants certificates of an authority.
func serveTLS(t *testing.T, files mtlstest.Files) (port string) {
	t.Helper()
	server, err := mtls.LoadServer(mtls.ServerProfile{Name: "s", Cert: files.Cert(), Key: files.Key(), ClientCAs: files.CAs(), RequireClientCert: true}, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := listenTCP(t)
	serveOn(t, tls.NewListener(l, server.Config()), threeNodes(), nil)
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	files := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}, Hosts: []string{"localhost"}})
	other := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "other"), mtlstest.Leaf{Nodes: []string{"a"}})
	port := serveTLS(t, files)
	at := "localhost:" + port
	conf := filepath.Join(t.TempDir(), "node.yml")
	if err := os.WriteFile(conf, []byte("- node: {id: x}\n- tls-client: {name: other, rootcas: "+other.CAs()+"}\n"+
		"- tls-client: {name: mine, rootcas: "+files.CAs()+", cert: "+files.Cert()+", key: "+files.Key()+"}\n"+
		"- tls-client: {name: any, insecureskipverify: yes, cert: "+files.Cert()+", key: "+files.Key()+"}\n"+
		"- tls-client: {name: odd, insecureskipverify: perhaps}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mine := []string{"--cert", files.Cert(), "--key", files.Key()}
	trusting := append([]string{"--rootcas", files.CAs()}, mine...)
	for name, tc := range map[string]struct {
		socket string
		flags  []string
		env    map[string]string
		code   int
		stderr string // what the line holds
	}{
		"files":                   {"tls:" + at, trusting, nil, 0, ""},
		"with slashes":            {"tls://" + at, trusting, nil, 0, ""},
		"an item":                 {"tls:" + at, []string{"-c", conf, "--tls-client", "mine"}, nil, 0, ""},
		"an item by environment":  {"tls:" + at, nil, map[string]string{"RECEPTORCTL_CONFIG": conf, "RECEPTORCTL_TLSCLIENT": "mine"}, 0, ""},
		"any node":                {"tls:127.0.0.1:" + port, append([]string{"--insecureskipverify", "TRUE"}, mine...), nil, 0, ""},
		"an item for any node":    {"tls:127.0.0.1:" + port, []string{"-c", conf, "--tls-client", "any"}, nil, 0, ""},
		"another host":            {"tls:127.0.0.1:" + port, trusting, nil, 1, "Failed to connect to Receptor socket tls:127.0.0.1:" + port + ": tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1"},
		"another authority":       {"tls:" + at, append([]string{"--rootcas", other.CAs()}, mine...), nil, 1, "x509: certificate signed by unknown authority"},
		"no certificate":          {"tls:" + at, []string{"--rootcas", files.CAs()}, nil, 1, "certificate required"},
		"a key only":              {"tls:" + at, []string{"--rootcas", files.CAs(), "--key", files.Key()}, nil, 1, "certificate required"},
		"no such file":            {"tls:" + at, []string{"--rootcas", "/none/x"}, nil, 1, "ERROR: prepare TLS: "},
		"no such item":            {"tls:" + at, []string{"-c", conf, "--tls-client", "x"}, nil, 1, "ERROR: " + conf + ` has no tls-client with the name "x"`},
		"an item with an odd yes": {"tls:" + at, []string{"-c", conf, "--tls-client", "odd"}, nil, 1, `insecureskipverify: expected true or false, got "perhaps"`},
		"an odd yes":              {"tls:" + at, []string{"--insecureskipverify", "perhaps"}, nil, 2, "ERROR: 'perhaps' is not a valid boolean."},
		"two sources":             {"tls:" + at, append([]string{"--config", conf}, trusting...), nil, 2, "ERROR: Cannot specify both config and rootcas, key, cert"},
		"a file without an item":  {"tls:" + at, []string{"--config", conf}, nil, 2, "ERROR: Must specify both config and tlsclient"},
		"no such configuration":   {"tls:" + at, []string{"--config", "/none/x", "--tls-client", "x"}, nil, 1, "no such file or directory"},
		"without TLS":             {"tcp:" + at, []string{"--timeout", "250ms"}, nil, 1, "Failed to connect to Receptor socket tcp:" + at},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--socket", tc.socket, "--timeout", patience.String()}, tc.flags...)
			got := runWith(t, nil, tc.env, "", append(args, "ping", "b", "--count=1")...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.stderr) || strings.Count(got.stderr, "\n") > 1 || tc.code == 0 && got != (outcome{0, pongFromB, ""}) {
				t.Errorf("got %+v, want %d and %q", got, tc.code, tc.stderr)
			}
		})
	}
}

// A port that is none of a control conversation, but of something near it, is
// named.
func TestOtherPorts(t *testing.T) {
	t.Parallel()
	const mesh = "this is a mesh port, where nodes link up (a tcp-listener); the control socket is elsewhere (a control-service)"
	for name, tc := range map[string]struct{ scheme, says, want string }{
		"mesh":                 {"tcp:", "\x9e\x00\x01{\"NodeID\":\"b\",\"UpdateID\":", mesh},
		"mesh, for TLS":        {"tls:", "\x9e\x00\x01{\"NodeID\":\"b\",\"UpdateID\":", mesh},
		"control without TLS":  {"tls:", greeting, "the node speaks no TLS here: use tcp:HOST:PORT"},
		"nothing, and silence": {"tcp:", "", "no greeting within 250ms (a port with TLS gives none: is it tls:HOST:PORT?)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listenTCP(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, tc.says)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
			timeout := patience.String()
			if tc.says == "" {
				timeout = "250ms"
			}
			at := tc.scheme + l.Addr().String()
			run(t, "", "--socket", at, "--timeout", timeout, "status").
				check(t, outcome{1, "", "ERROR: Failed to connect to Receptor socket " + at + ": " + tc.want + "\n"})
			<-done
		})
	}
}
