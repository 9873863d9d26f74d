package check

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports below those that systems choose for outgoing connections: a port that
// was free a moment ago is not taken by a connection meanwhile.
const (
	firstPort = 18000
	lastPort  = 32000
)

// isFree says why an address cannot be listened on, for TCP or UDP.
func isFree(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", addr)
	if err == nil {
		err = u.Close()
	}
	return errors.Join(err, l.Close())
}

// Ports hands out loopback ports that nobody listens on, none twice. Checks that
// run at once share one.
type Ports struct {
	mu   sync.Mutex
	last int // 0: none yet
}

// free returns the address of a port.
func (p *Ports) free() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == 0 {
		p.last = firstPort + rand.IntN(lastPort-firstPort) // other processes begin elsewhere
	}
	var err error
	for range lastPort - firstPort {
		if p.last++; p.last > lastPort {
			p.last = firstPort
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.last))
		if err = isFree(addr); err == nil {
			return addr, nil
		}
	}
	return "", err
}
