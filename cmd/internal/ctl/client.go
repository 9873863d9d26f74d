package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// maxAnswer bounds one line of an answer: the status of a mesh of some hundred
// thousand nodes fits.
const maxAnswer = 256 << 20

// Client is one control conversation. It is not safe for concurrent use.
type Client struct {
	Node string // whom the greeting named

	conn    net.Conn
	in      *bufio.Reader
	timeout time.Duration
	lastID  int
	stop    func() bool
}

// Dial connects, by TLS with that client where the address says so, and reads the
// greeting. Each answer may take that long; 0 is for ever. When ctx is done the
// conversation is cut.
func Dial(ctx context.Context, a Address, tls *mtls.Client, timeout time.Duration) (*Client, error) {
	dialCtx, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		dialCtx, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	conn, err := a.dial(dialCtx, tls)
	if err != nil {
		return nil, err
	}
	c, err := begin(ctx, conn, bufio.NewReader(conn), timeout)
	if err != nil {
		return nil, fmt.Errorf("Failed to connect to Receptor socket %s: %w", a, err) //nolint:staticcheck // scripts know this text
	}
	return c, nil
}

// begin begins a conversation on a connection, which it closes if there is none.
func begin(ctx context.Context, conn net.Conn, in *bufio.Reader, timeout time.Duration) (*Client, error) {
	c := &Client{conn: conn, in: in, timeout: timeout}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := c.greeting(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Through turns the conversation into one with another node of the mesh, over its
// control service, by that TLS client profile of the first node. The client is of no
// use afterwards.
func (c *Client) Through(ctx context.Context, node, tls string) (*Client, error) {
	if err := openPipe(c, node, controlService, tls); err != nil {
		return nil, fmt.Errorf("reach the control service of %s: %w", node, err)
	}
	other, err := begin(ctx, c.conn, c.in, c.timeout)
	if err != nil {
		return nil, fmt.Errorf("talk to %s: %w", node, err)
	}
	return other, nil
}

// controlService is the name of the control service of nodes, unless they call it
// otherwise.
const controlService = "control"

func (c *Client) greeting() error {
	c.allow()
	first, err := c.in.Peek(meshPrefix)
	switch {
	case isMesh(first):
		return errMesh
	case errors.Is(err, os.ErrDeadlineExceeded) && c.conn.LocalAddr().Network() == "tcp":
		return fmt.Errorf("no greeting within %v (a port with TLS gives none: is it tls:HOST:PORT?)", c.timeout)
	case err != nil && !errors.Is(err, io.EOF):
		return c.explain("read greeting", err)
	}
	line, err := c.readLine(4096)
	switch {
	case err == nil:
	case errors.Is(err, errTooLong):
		return errors.New("this is no control socket")
	default:
		return err
	}
	if text, ok := strings.CutPrefix(line, "ERROR: "); ok {
		return errors.New(text)
	}
	node, ok := strings.CutPrefix(line, "Receptor Control, node ")
	if !ok || node == "" {
		return fmt.Errorf("this is no control socket, it says %q", line[:min(len(line), 60)])
	}
	c.Node = node
	return nil
}

// Close ends the conversation.
func (c *Client) Close() {
	c.stop()
	_ = c.conn.Close()
}

// NodeError is an error that the node answered with.
type NodeError struct {
	Code string // only in our own form
	Msg  string
}

// Error implements error.
func (e *NodeError) Error() string { return e.Msg }

// errLegacy means that a node does not know our own form. The conversation can go
// on, in the legacy forms.
var errLegacy = errors.New("the node speaks only the legacy forms")

// Plain sends a line in a legacy form and returns the one that answers it; an
// ERROR is a *NodeError.
func (c *Client) Plain(line string) (string, error) {
	if strings.ContainsAny(line, "\r\n") {
		return "", usagef("parameters may not hold line ends")
	}
	if err := c.send(line); err != nil {
		return "", err
	}
	answer, err := c.readLine(maxAnswer)
	if err != nil {
		return "", err
	}
	if text, ok := strings.CutPrefix(answer, "ERROR: "); ok {
		return "", &NodeError{Msg: text}
	}
	return answer, nil
}

// Call gives a command in our own form and returns its result; each gets events
// on the way. A node that does not know the form makes it fail with errLegacy.
func (c *Client) Call(command string, args any, each func(event json.RawMessage) error) (json.RawMessage, error) {
	c.lastID++
	id := strconv.Itoa(c.lastID)
	line, err := json.Marshal(map[string]any{"v": 1, "id": c.lastID, "command": command, "args": args})
	if err != nil {
		return nil, fmt.Errorf("write arguments: %w", err)
	}
	if err := c.send(string(line)); err != nil {
		return nil, err
	}
	for {
		line, err := c.readLine(maxAnswer)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(line, "ERROR: ") {
			return nil, errLegacy
		}
		var answer struct {
			ID     json.RawMessage `json:"id"`
			Event  json.RawMessage `json:"event"`
			Result json.RawMessage `json:"result"`
			Error  *NodeError      `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		switch {
		case answer.ID == nil:
			return nil, errLegacy
		case string(answer.ID) != id:
			return nil, fmt.Errorf("the node answered %.20q to command %s", answer.ID, id)
		case answer.Error != nil:
			return nil, answer.Error
		case answer.Result != nil:
			return answer.Result, nil
		}
		if each != nil {
			if err := each(answer.Event); err != nil {
				return nil, err
			}
		}
	}
}

// Raw returns the connection after a command that made it a pipe, with what was
// read ahead, without a limit in time.
func (c *Client) Raw() (net.Conn, *bufio.Reader, error) {
	return c.conn, c.in, c.conn.SetDeadline(time.Time{})
}

func (c *Client) send(line string) error {
	c.allow()
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		return c.explain("send command", err)
	}
	return nil
}

var errTooLong = errors.New("the answer is too long")

// readLine reads a line of less than limit bytes, and returns it without its end.
func (c *Client) readLine(limit int) (string, error) {
	c.allow()
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return "", errTooLong
		}
		line = append(line, part...)
		if err == nil {
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", c.explain("read answer", err)
		}
	}
}

// allow gives the next step its time. A connection without deadlines is one that
// is closed, which the step finds out.
func (c *Client) allow() {
	if c.timeout > 0 {
		_ = c.conn.SetDeadline(time.Now().Add(c.timeout))
	}
}

func (c *Client) explain(doing string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v", c.timeout)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
