package lab

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// FreeUDPPort returns a UDP port that nobody is bound to now, from the kernel.
func FreeUDPPort() (int, error) {
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port, nil
}

// UDPRelay is a bad way for datagrams: it loses some, and lets some be overtaken.
type UDPRelay struct {
	Loss    float64       // of all datagrams
	Reorder float64       // of all datagrams: those come late
	Late    time.Duration // so much

	Lost, Overtaken, Passed atomic.Uint64

	front  *net.UDPConn
	target netip.AddrPort
	cut    atomic.Bool // everything is lost
	wg     sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
	backs  map[netip.AddrPort]*net.UDPConn
	closed bool
}

// Start has the relay listen, on loopback, and returns where. Its ways lead to target.
func (r *UDPRelay) Start(target string) (addr string, err error) {
	if r.target, err = netip.ParseAddrPort(target); err != nil {
		return "", err
	}
	if r.front, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return "", err
	}
	r.random = rand.New(rand.NewPCG(1, 2))
	r.backs = map[netip.AddrPort]*net.UDPConn{}
	r.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := r.front.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if back := r.back(from); err == nil && back != nil {
				r.pass(buf[:n], func(b []byte) { _, _ = back.WriteToUDPAddrPort(b, r.target) }) // or it is lost
			}
		}
	})
	return r.front.LocalAddr().String(), nil
}

// back is the socket by which the relay stands for somebody; nil: it is closed.
func (r *UDPRelay) back(from netip.AddrPort) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.backs[from]; c != nil || r.closed {
		return c
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil
	}
	r.backs[from] = c
	r.wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				r.pass(buf[:n], func(b []byte) { _, _ = r.front.WriteToUDPAddrPort(b, from) })
			}
		}
	})
	return c
}

// pass sends a datagram on, or not.
func (r *UDPRelay) pass(b []byte, send func([]byte)) {
	r.mu.Lock()
	dice := r.random.Float64()
	r.mu.Unlock()
	switch {
	case r.cut.Load() || dice < r.Loss:
		r.Lost.Add(1)
	case dice < r.Loss+r.Reorder:
		r.Overtaken.Add(1)
		late := append([]byte(nil), b...)
		r.wg.Add(1)
		time.AfterFunc(r.Late, func() {
			defer r.wg.Done()
			send(late)
		})
	default:
		r.Passed.Add(1)
		send(b)
	}
}

// Cut has everything lost, or no longer.
func (r *UDPRelay) Cut(cut bool) { r.cut.Store(cut) }

// Close ends the relay and waits for it.
func (r *UDPRelay) Close() {
	r.front.Close()
	r.mu.Lock()
	r.closed = true
	for _, c := range r.backs {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
