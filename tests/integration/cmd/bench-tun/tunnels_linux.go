package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// The names of the tunnels.
const (
	bare      = "bare wire"
	wireguard = "wireguard-go"
	overTCP   = "receptor over TCP"
	overTLS   = "receptor over TCP with TLS"
	overUDP   = "receptor over UDP"
)

// tunnel is a way between the two hosts.
type tunnel struct {
	name    string
	far     string           // address of the far host in it
	nodes   []string         // of ours
	procs   map[string][]int // processes, by group
	results map[string][]result
}

func newTunnel(name, far string) *tunnel {
	return &tunnel{name: name, far: far, procs: map[string][]int{}, results: map[string][]result{}}
}

// cpuSeconds is the CPU time that the groups of processes have had.
func (t *tunnel) cpuSeconds() (map[string]float64, error) {
	sums := map[string]float64{}
	for name, pids := range t.procs {
		for _, pid := range pids {
			s, err := lab.CPUSeconds(pid)
			if err != nil {
				return nil, err
			}
			sums[name] += s
		}
	}
	return sums, nil
}

// tunnels makes those that are wanted.
func (e *ends) tunnels(ctx context.Context, s sizes, wanted func(name string) bool) (all []*tunnel, err error) {
	for _, k := range []struct {
		name string
		make func() (*tunnel, error)
	}{
		{bare, func() (*tunnel, error) { return newTunnel(bare, e.wire.B), nil }},
		{wireguard, func() (*tunnel, error) { return e.wireguard(ctx, s.mtu) }},
		{overTCP, func() (*tunnel, error) { return e.receptor(ctx, overTCP, 1, s.mtu, "tcp", false) }},
		{overTLS, func() (*tunnel, error) { return e.receptor(ctx, overTLS, 2, s.mtu, "tcp", true) }},
		{overUDP, func() (*tunnel, error) { return e.receptor(ctx, overUDP, 3, s.mtu, "udp", false) }},
	} {
		if !wanted(k.name) {
			continue
		}
		t, err := k.make()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// receptor makes a tunnel between two nodes, each with its core and plugs, that are
// linked over that medium. number tells it from others of this program.
func (e *ends) receptor(ctx context.Context, name string, number, mtu int, medium string, tls bool) (*tunnel, error) {
	addresses := [2]string{fmt.Sprintf("10.78.%d.1", number), fmt.Sprintf("10.78.%d.2", number)}
	nodes := [2]string{fmt.Sprintf("near%d", number), fmt.Sprintf("far%d", number)}
	port := strconv.Itoa(1000 + number)
	links := [2][]string{
		{"--" + medium + "-listener", "bindaddr=" + e.wire.A, "port=" + port},
		{"--" + medium + "-peer", "address=" + e.wire.A + ":" + port},
	}
	if tls {
		cert, err := e.certificate()
		if err != nil {
			return nil, err
		}
		links[0] = append(links[0], "tls=t", "--tls-server", "name=t", "cert="+cert, "key="+cert, "skipreceptornamescheck=true")
		links[1] = append(links[1], "tls=t", "--tls-client", "name=t", "insecureskipverify=true", "skipreceptornamescheck=true")
	}
	t := newTunnel(name, addresses[1])
	t.nodes = nodes[:]
	for i, host := range []*lab.Host{e.near, e.far} {
		args := append([]string{"--node", "id=" + nodes[i]}, links[i]...)
		args = append(args, "--tun-proxy", "interface=receptor"+strconv.Itoa(number), "service=vpn", "remotenode="+nodes[1-i], "remoteservice=vpn",
			"ifaddress="+addresses[i], "destaddress="+addresses[1-i], "mtu="+strconv.Itoa(mtu))
		core, err := e.start(host, "receptor-core", args...)
		if err != nil {
			return nil, err
		}
		t.procs["cores"] = append(t.procs["cores"], core.PID())
		for _, program := range []string{"receptor-backend-" + medium, "receptor-proxy-tun"} {
			plug, err := e.start(host, program, "--socket", e.PlugSocket(nodes[i]))
			if err != nil {
				return nil, err
			}
			t.procs["plugs"] = append(t.procs["plugs"], plug.PID())
		}
	}
	for i, node := range nodes {
		if err := e.WaitRoute(ctx, node, nodes[1-i]); err != nil {
			return nil, err
		}
		if err := e.WaitStatus(ctx, node, func(s *lab.Status) bool {
			return s.Item("tun-proxy service=vpn").State == "up" && s.Advertisement(nodes[1-i], "vpn").NodeID != ""
		}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// certificate makes a file with a certificate and its key.
func (e *ends) certificate() (file string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench-tun"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := errors.Join(pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return "", err
	}
	file = filepath.Join(e.Dir, "tls.pem")
	return file, os.WriteFile(file, b.Bytes(), 0o600)
}

// wireguard makes a tunnel of two wireguard-go.
func (e *ends) wireguard(ctx context.Context, mtu int) (*tunnel, error) {
	const port = "51820"
	addresses, outside := [2]string{"10.79.0.1", "10.79.0.2"}, [2]string{e.wire.A, e.wire.B}
	t := newTunnel(wireguard, addresses[1])
	var names, files, public [2]string
	for i, host := range []*lab.Host{e.near, e.far} {
		names[i] = fmt.Sprintf("wb%d%c", os.Getpid(), 'a'+i) // its socket is the machine's, not the host's
		private, err := run("", "wg", "genkey")
		if err != nil {
			return nil, err
		}
		if public[i], err = run(private, "wg", "pubkey"); err != nil {
			return nil, err
		}
		files[i] = filepath.Join(e.Dir, names[i])
		if err := os.WriteFile(files[i], []byte(private), 0o600); err != nil {
			return nil, err
		}
		p, err := e.StartAs(func(c *exec.Cmd) {
			path, err := exec.LookPath("wireguard-go")
			c.Path, c.Err = path, err
			c.Env = append(c.Env, "LOG_LEVEL=error", "WG_PROCESS_FOREGROUND=1")
			host.Run(c)
		}, "wireguard-go", "--foreground", names[i])
		if err != nil {
			return nil, err
		}
		t.procs["wireguard-go"] = append(t.procs["wireguard-go"], p.PID())
	}
	for i, host := range []*lab.Host{e.near, e.far} {
		if err := waitFile(ctx, filepath.Join("/var/run/wireguard", names[i]+".sock")); err != nil {
			return nil, err
		}
		for _, command := range [][]string{
			{"wg", "set", names[i], "private-key", files[i], "listen-port", port, "peer", public[1-i], "allowed-ips", addresses[1-i] + "/32", "endpoint", outside[1-i] + ":" + port},
			{"ip", "-n", host.Name, "address", "add", addresses[i], "peer", addresses[1-i], "dev", names[i]},
			{"ip", "-n", host.Name, "link", "set", names[i], "mtu", strconv.Itoa(mtu), "up"},
		} {
			if _, err := run("", command[0], command[1:]...); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// waitFile waits until there is a file of that name.
func waitFile(ctx context.Context, name string) error {
	for {
		_, err := os.Stat(name)
		if err == nil {
			return nil
		}
		if paused := lab.Pause(ctx, 10*time.Millisecond); paused != nil {
			return errors.Join(err, paused)
		}
	}
}

// run runs a program and returns what it prints.
func run(input, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
