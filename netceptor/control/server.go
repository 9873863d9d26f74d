package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Server holds conversations. Its methods may be called concurrently.
type Server struct {
	greeting string
	log      hclog.Logger

	mu       sync.RWMutex
	commands map[string]Command
}

// Config is what a Server needs.
type Config struct {
	NodeID string       // for the greeting
	Logger hclog.Logger // nil: none
}

// New makes a server without commands.
func New(c Config) *Server {
	log := c.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Server{
		greeting: fmt.Sprintf("Receptor Control, node %s\n", c.NodeID),
		log:      log,
		commands: make(map[string]Command),
	}
}

// Register adds commands; the last one of a name wins.
func (s *Server) Register(commands ...Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.commands)
	for _, c := range commands {
		all[c.Name] = c
	}
	s.commands = all
}

func (s *Server) command(name string) Command {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.commands[name]
}

// Serve holds a conversation with each connection that l accepts, at most
// MaxSessions at once, until ctx is done or l is closed by others. Then it closes
// l and all conversations, and waits for them. An error of Accept other than
// net.ErrClosed is taken for a passing one: descriptors run out, and come back.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	// The listener's error of closing means nothing to anybody: it is closed twice
	// where its owner closed it.
	running.Go(func() {
		<-ctx.Done()
		_ = l.Close()
	})

	slots := make(chan struct{}, MaxSessions)
	backoff := acceptBackoff
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if backoff == acceptBackoff {
				s.log.Warn("cannot accept control connections, trying on", "listener", l.Addr().String(), "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(backoff):
			}
			backoff = min(2*backoff, maxAcceptBackoff)
			continue
		}
		backoff = acceptBackoff
		select {
		case slots <- struct{}{}:
			running.Go(func() {
				defer func() { <-slots }()
				s.converse(ctx, conn)
			})
		default:
			s.refuse(conn)
		}
	}
}

// refuse turns a client away, whose reason may be lost if it is slow.
func (s *Server) refuse(conn net.Conn) {
	s.log.Warn("control connection refused: too many conversations", "remote", conn.RemoteAddr().String(), "limit", MaxSessions)
	_ = conn.SetDeadline(time.Now().Add(refuseTimeout)) // for reading, too: TLS has its handshake to do
	_, _ = conn.Write([]byte("ERROR: too many conversations, try again later\n"))
	_ = conn.Close()
}
