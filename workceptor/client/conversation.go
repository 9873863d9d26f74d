package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/frame"
)

const (
	// answerTimeout is how long an answer may take: a cancel is answered after 15 s
	// at most, and a busy disk has its time.
	answerTimeout = time.Minute

	// watchSilence is how long a watcher may hear nothing: three heartbeats.
	watchSilence = 90 * time.Second

	// maxAnswer bounds a line. A list of all units that a node takes fits.
	maxAnswer = 256 << 20
)

// conversation is one connection to a node, for one request.
type conversation struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
	stop func() bool
}

// begin opens a connection and takes the greeting. When ctx is done it is cut.
func (c *Client) begin(ctx context.Context) (*conversation, error) {
	conn, err := c.Dial(ctx)
	if err != nil {
		return nil, lost("connect", err)
	}
	v := &conversation{conn: conn, in: bufio.NewReaderSize(conn, frame.Header+frame.MaxData)}
	v.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	line, err := v.line(answerTimeout)
	if err == nil && !bytes.HasPrefix(line, []byte("Receptor Control, node ")) {
		text, refused := strings.CutPrefix(string(line[:min(len(line), 200)]), "ERROR: ")
		if err = fmt.Errorf("this is no control service, it says %q", text); refused {
			err = lost("begin", errors.New(text)) // too many conversations, for now
		}
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *conversation) close() {
	v.stop()
	_ = v.conn.Close() // what matters has been read
}

// call sends a request and reads its result.
func (v *conversation) call(a args, result any) error {
	if err := v.send(a); err != nil {
		return err
	}
	raw, event, err := v.answer(answerTimeout)
	if err == nil && event {
		err = errors.New("read answer: the node tells of events, and was not asked to")
	}
	if err != nil {
		return err
	}
	return decode(raw, result)
}

func (v *conversation) send(a args) error {
	line, err := json.Marshal(map[string]any{"v": 1, "id": 1, "command": "work", "args": a})
	if err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	if _, err := v.conn.Write(append(line, '\n')); err != nil {
		return lost("send request", err)
	}
	return nil
}

// answer reads the next answer: an event or a result.
func (v *conversation) answer(timeout time.Duration) (raw json.RawMessage, event bool, err error) {
	line, err := v.line(timeout)
	if err != nil {
		return nil, false, err
	}
	if bytes.HasPrefix(line, []byte("ERROR: ")) {
		return nil, false, ErrLegacy
	}
	var a struct {
		ID     json.RawMessage `json:"id"`
		Event  json.RawMessage `json:"event"`
		Result json.RawMessage `json:"result"`
		Error  *Error          `json:"error"`
	}
	switch err := decode(line, &a); {
	case err != nil:
		return nil, false, err
	case a.ID == nil:
		return nil, false, ErrLegacy
	case a.Error != nil:
		return nil, false, a.Error.verdict()
	case a.Event != nil:
		return a.Event, true, nil
	}
	return a.Result, false, nil
}

// verdict is e, unless somebody else would answer otherwise.
func (e *Error) verdict() error {
	if e.Code == codeCanceled {
		return lost("the node is stopping", e)
	}
	return e
}

// line reads a line without its end. The connection is cut if it takes too long.
func (v *conversation) line(timeout time.Duration) ([]byte, error) {
	late := time.AfterFunc(timeout, func() { _ = v.conn.Close() })
	defer late.Stop()
	var line []byte
	for {
		part, err := v.in.ReadSlice('\n')
		if len(line)+len(part) > maxAnswer {
			return nil, errors.New("read answer: it is too long")
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return nil, lost("read answer", noEOF(err))
		}
	}
}

// end reads the object of the last frame.
func end(data []byte) (Status, error) {
	var e struct {
		Unit  *Status `json:"unit"`
		Error *Error  `json:"error"`
	}
	switch err := decode(data, &e); {
	case err != nil:
		return Status{}, err
	case e.Error != nil:
		return Status{}, e.Error.verdict()
	case e.Unit == nil:
		return Status{}, errors.New("read answer: there is no unit in it")
	}
	return *e.Unit, nil
}

func decode(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// noEOF is err for somebody who has waited for more.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
