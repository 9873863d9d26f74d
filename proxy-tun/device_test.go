package proxytun

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/proxy-tun/internal/host"
)

// fakeDevice is a network interface without a host: what that sends and gets is the test's.
type fakeDevice struct {
	config   host.Config
	name     string
	tcp, udp bool

	sent chan []byte // by the host: a header and a packet each
	got  chan []byte // by the host, likewise

	mu      sync.Mutex
	routes  []netip.Prefix
	refused map[netip.Prefix]error
	closed  chan struct{}
	closing sync.Once
}

func newFakeDevice(c host.Config, offload bool) *fakeDevice {
	d := &fakeDevice{
		config: c, name: c.Name, tcp: offload, udp: offload,
		sent: make(chan []byte), got: make(chan []byte, 1024), closed: make(chan struct{}),
	}
	if d.name == "" {
		d.name = "tun0"
	}
	return d
}

// Read implements io.Reader.
func (d *fakeDevice) Read(b []byte) (int, error) {
	select {
	case p := <-d.sent:
		if len(p) == 0 {
			return 0, io.ErrUnexpectedEOF // as if somebody had removed it
		}
		return copy(b, p), nil
	case <-d.closed:
		return 0, net.ErrClosed
	}
}

// Write implements io.Writer.
func (d *fakeDevice) Write(b []byte) (int, error) {
	select {
	case d.got <- slices.Clone(b):
		return len(b), nil
	case <-d.closed:
		return 0, net.ErrClosed
	}
}

func (d *fakeDevice) Close() error {
	d.closing.Do(func() { close(d.closed) })
	return nil
}

func (d *fakeDevice) Name() string { return d.name }

func (d *fakeDevice) Offload() (tcp, udp bool) { return d.tcp, d.udp }

func (d *fakeDevice) SetRoutes(want []netip.Prefix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.routes = nil
	var errs []error
	for _, p := range want {
		if err := d.refused[p]; err != nil {
			errs = append(errs, err)
			continue
		}
		d.routes = append(d.routes, p)
	}
	return errors.Join(errs...)
}

// refuse has the host refuse a route.
func (d *fakeDevice) refuse(network string, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = map[netip.Prefix]error{netip.MustParsePrefix(network): why}
}

// waitRoutes waits until these are the routes, in any order.
func (d *fakeDevice) waitRoutes(t *testing.T, networks ...string) {
	t.Helper()
	var want []string
	want = append(want, networks...)
	slices.Sort(want)
	deadline := time.After(plugtest.Patience)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		d.mu.Lock()
		var got []string
		for _, p := range d.routes {
			got = append(got, p.String())
		}
		d.mu.Unlock()
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("routes are %v, expected %v", got, want)
		}
	}
}

// send has the host send a packet.
func (d *fakeDevice) send(t *testing.T, b []byte) {
	t.Helper()
	select {
	case d.sent <- b:
	case <-time.After(plugtest.Patience):
		t.Fatal("the plug does not read the interface")
	}
}

// next is the next packet that the host gets, with its header.
func (d *fakeDevice) next(t *testing.T) []byte {
	t.Helper()
	return plugtest.Receive(t, d.got, "a packet for the host")
}
