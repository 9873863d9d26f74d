// Command demo is the main job of Receptor in one go: three nodes in a line over
// TCP, each with its plugs as programs of their own; a directory served by HTTP
// behind the last, fetched through the mesh at the first; units of work at the
// first and at the last, followed line by line while the core that runs them is killed,
// and all of the last node.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the built programs")
	size := flag.Int64("size", 200<<20, "bytes of the large file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d := &demo{start: time.Now(), size: *size, launcher: make(map[string]int), args: make(map[string][]string)}
	err := d.run(ctx, *bin)
	if d.lab != nil {
		if err != nil {
			for _, p := range d.lab.Processes() {
				fmt.Fprintf(os.Stderr, "--- %s\n%s", p.Name, p.Output())
			}
		}
		err = errors.Join(err, d.lab.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	d.step("all programs stopped in order; the demo is over")
}

type demo struct {
	start time.Time
	size  int64
	lab   *lab.Lab

	launcher map[string]int      // process IDs of the nodes' receptor
	args     map[string][]string // and what it is started with
}

// step prints what happens, with the time since the start.
func (d *demo) step(format string, args ...any) {
	fmt.Printf("%7.3f s  %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context, bin string) error {
	var err error
	if d.lab, err = lab.New(lab.Programs{Dir: bin}); err != nil {
		return err
	}
	dir, digest, err := d.makeDirectory()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(web) }) // until it is closed
	defer func() {
		_ = server.Close() // its connections end with it
		serving.Wait()
	}()
	d.step("a web server offers a directory at %s, which only node gamma will connect to", web.Addr())

	port, err := d.startNodes(ctx, web.Addr().String())
	if err != nil {
		return err
	}
	if err := d.showMesh(ctx); err != nil {
		return err
	}
	if err := d.fetch(ctx, "http://"+lab.Local(port), digest); err != nil {
		return err
	}
	return d.units(ctx)
}

// makeDirectory makes a directory with a page and a large file.
func (d *demo) makeDirectory() (dir, digest string, err error) {
	if dir, err = os.MkdirTemp("", "receptor-demo"); err != nil {
		return "", "", err
	}
	page := "<h1>Hello from behind gamma</h1>\n"
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(page), 0o644); err != nil {
		return "", "", err
	}
	f, err := os.Create(filepath.Join(dir, "large.bin"))
	if err != nil {
		return "", "", err
	}
	src, hash := lab.Source(d.size, 1)
	_, err = io.Copy(f, src)
	return dir, hex.EncodeToString(hash.Sum(nil)), errors.Join(err, f.Close())
}

// startNodes starts alpha, beta and gamma, and returns alpha's local port.
func (d *demo) startNodes(ctx context.Context, web string) (int, error) {
	ports := make([]int, 3)
	for i := range ports {
		var err error
		if ports[i], err = lab.FreePort(); err != nil {
			return 0, err
		}
	}
	lines := [][]string{
		append([]string{
			"--node", "id=alpha", "--tcp-listener", "port=" + strconv.Itoa(ports[0]), "bindaddr=127.0.0.1",
			"--tcp-server", "port=" + strconv.Itoa(ports[2]), "bindaddr=127.0.0.1", "remotenode=gamma", "remoteservice=web",
		}, workItems...),
		{
			"--node", "id=beta", "--tcp-peer", "address=" + lab.Local(ports[0]),
			"--tcp-listener", "port=" + strconv.Itoa(ports[1]), "bindaddr=127.0.0.1",
		},
		append([]string{
			"--node", "id=gamma", "--tcp-peer", "address=" + lab.Local(ports[1]),
			"--tcp-client", "service=web", "address=" + web, "--control-service", "service=control", // where other nodes bring work
		}, countItem...),
	}
	for _, args := range lines {
		node := strings.TrimPrefix(args[1], "id=")
		d.args[node] = args
		if err := d.startNode(node); err != nil {
			return 0, err
		}
		d.step("receptor %s", strings.Join(args, " "))
	}
	for _, wait := range []struct {
		node string
		to   []string
	}{{"alpha", []string{"beta", "gamma"}}, {"gamma", []string{"alpha", "beta"}}} {
		if err := d.lab.WaitRoute(ctx, wait.node, wait.to...); err != nil {
			return 0, err
		}
	}
	return ports[2], d.lab.WaitStatus(ctx, "gamma", func(s *lab.Status) bool { return s.Item("tcp-client service=web").State == "up" })
}

// startNode starts a node, for the first time or again.
func (d *demo) startNode(node string) error {
	p, err := d.lab.Start("receptor", d.args[node]...)
	if err != nil {
		return err
	}
	d.launcher[node] = p.PID()
	return nil
}

// showMesh prints who is there, who runs, and how long a ping takes.
func (d *demo) showMesh(ctx context.Context) error {
	for _, node := range []string{"alpha", "beta", "gamma"} {
		s, err := d.lab.Status(ctx, node)
		if err != nil {
			return err
		}
		var routes, plugs []string
		for to, via := range s.RoutingTable {
			routes = append(routes, fmt.Sprintf("to %s via %s", to, via))
		}
		sort.Strings(routes)
		for _, p := range s.Plugs {
			plugs = append(plugs, fmt.Sprintf("%s (pid %d)", p.Program, p.PID))
		}
		d.step("%-5s routes: %s; plugs: %s", node, strings.Join(routes, ", "), strings.Join(plugs, ", "))
	}
	out, err := d.lab.Ctl(ctx, "alpha", "ping", "gamma", "--count", "3", "--delay", "0")
	if err != nil {
		return err
	}
	d.step("alpha pings gamma, two links away: %s", strings.Join(strings.Split(strings.TrimSpace(out), "\n"), "; "))
	return nil
}

// fetch gets the page and the large file through the mesh and checks them.
func (d *demo) fetch(ctx context.Context, base, digest string) error {
	// Every get is a connection, and so a stream, of its own.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string, w io.Writer) (int64, time.Duration, error) {
		start := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return 0, 0, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, 0, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, 0, fmt.Errorf("get %s: %s", path, resp.Status)
		}
		n, err := io.Copy(w, resp.Body)
		return n, time.Since(start), err
	}
	for _, what := range []string{"first page (the stream's connection is made now)", "the same page again"} {
		var page strings.Builder
		_, took, err := get("/", &page)
		if err != nil {
			return err
		}
		d.step("%s: %s in %.1f ms", what, strings.TrimSpace(page.String()), float64(took.Microseconds())/1000)
	}
	h := sha256.New()
	n, took, err := get("/large.bin", h)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != d.size || got != digest {
		return fmt.Errorf("large.bin: got %d bytes with SHA-256 %s, expected %d with %s", n, got, d.size, digest)
	}
	d.step("large.bin: %d MiB in %.2f s (%.0f Mbit/s), SHA-256 as it should be", n>>20, took.Seconds(), float64(n)*8/took.Seconds()/1e6)
	return nil
}
