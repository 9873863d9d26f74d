package legacy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

// Command answers one command of the control conversation. An answer that is not
// nil goes out as a line of JSON, an error as a line with ERROR. A command may
// also write to the session itself, read what follows its line, and return
// ErrEndSession when the conversation is over with it.
type Command func(ctx context.Context, s *ControlSession, r Request) (answer any, err error)

// ErrEndSession ends the conversation without a word.
var ErrEndSession = errors.New("the conversation is over")

// Request is a command as it was written.
type Request struct {
	Text   string         // plain form: what follows the command
	Fields map[string]any // JSON form; nil in the plain form
}

// Plain splits the text at single spaces. Nothing is no parameter.
func (r Request) Plain() []string {
	if r.Text == "" {
		return nil
	}
	return strings.Split(r.Text, " ")
}

// ControlSession is one conversation.
type ControlSession struct {
	Node   *Node
	Local  bool // over a Unix socket, where no signature is asked for
	Reader *bufio.Reader
	conn   io.ReadWriteCloser
}

// Write writes to the client.
func (s *ControlSession) Write(b []byte) (int, error) { return s.conn.Write(b) }

// closeWriter is what half-closes.
type closeWriter interface{ CloseWrite() error }

// finish ends the conversation: over the mesh, only our direction.
func (s *ControlSession) finish() {
	if !s.Local {
		if c, ok := s.conn.(closeWriter); ok {
			_ = c.CloseWrite()
			return
		}
	}
	s.conn.Close()
}

// ServeControl serves the control conversation as a service, and advertises it.
func (n *Node) ServeControl(serviceName string, t *TLS) (*Listener, error) {
	l, err := n.Listen(serviceName, t)
	if err != nil {
		return nil, err
	}
	connType := ConnStream
	if t != nil {
		connType = ConnStreamTLS
	}
	l.Advertise(connType, map[string]string{"type": "Control Service"}, n.config.WorkCommands)
	l.Serve(func(s *Stream) { n.converse(l.ctx, &ControlSession{conn: s}) })
	return l, nil
}

// ServeControlSocket serves the control conversation on a Unix socket, until the
// node ends. What has that name is replaced.
func (n *Node) ServeControlSocket(name string, mode os.FileMode) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", name)
	if err != nil {
		return err
	}
	if err := os.Chmod(name, mode); err != nil {
		return errors.Join(err, l.Close())
	}
	var (
		mu    sync.Mutex
		conns = map[net.Conn]bool{}
	)
	b := n.newBackend(func() error {
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			c.Close()
		}
		return l.Close()
	})
	b.start(n, func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			started := b.start(n, func() {
				n.converse(b.ctx, &ControlSession{conn: c, Local: true})
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
			if !started {
				c.Close()
			}
		}
	})
	return nil
}

// converse holds one conversation.
func (n *Node) converse(ctx context.Context, s *ControlSession) {
	s.Node, s.Reader = n, bufio.NewReader(s.conn)
	defer s.finish()
	if _, err := fmt.Fprintf(s, "Receptor Control, node %s\n", n.config.ID); err != nil {
		return
	}
	for {
		line, err := s.Reader.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(strings.ReplaceAll(line, "\r", ""), "\n")
		if line == "" {
			continue
		}
		if err := n.obeyLine(ctx, s, line); err != nil {
			return
		}
	}
}

// obeyLine runs one command. An error ends the conversation.
func (n *Node) obeyLine(ctx context.Context, s *ControlSession, line string) error {
	name, request, err := parseLine(line)
	if err != nil { // and then there is no command, either
		if _, err := fmt.Fprintf(s, "ERROR: %v\n", err); err != nil {
			return err
		}
	}
	command := n.command(name)
	if command == nil {
		_, err := fmt.Fprintf(s, "ERROR: Unknown command\n")
		return err
	}
	answer, err := command(ctx, s, request)
	switch {
	case errors.Is(err, ErrEndSession):
		return err
	case err != nil:
		_, err = fmt.Fprintf(s, "ERROR: %v\n", err)
	case answer != nil:
		var text []byte
		if text, err = json.Marshal(answer); err == nil {
			_, err = s.Write(append(text, '\n'))
		}
	}
	return err
}

// parseLine splits a line into its command and the rest.
func parseLine(line string) (command string, r Request, err error) {
	if line[0] != '{' {
		command, r.Text, _ = strings.Cut(line, " ")
		return strings.ToLower(command), r, nil
	}
	if err := json.Unmarshal([]byte(line), &r.Fields); err != nil {
		return "", r, err
	}
	v, ok := r.Fields["command"]
	if !ok {
		return "", r, errors.New("JSON did not contain a command")
	}
	if command, ok = v.(string); !ok {
		return "", r, errors.New("command must be a string")
	}
	return command, r, nil
}

func (n *Node) command(name string) Command {
	if c := n.config.Control[name]; c != nil {
		return c
	}
	switch name {
	case "ping":
		return ping
	case "traceroute":
		return traceroute
	case "status":
		return status
	case "connect":
		return connect
	case "reload":
		return reload
	case "work":
		return work
	}
	return nil
}
