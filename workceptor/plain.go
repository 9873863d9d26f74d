package workceptor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// plainRequest is a command in one of the two legacy forms.
type plainRequest struct {
	sub       string
	unit      string
	node, typ string
	params    map[string]string
	signature string
	ttl       string
	tlsClient string
	sign      bool
	start     int64
}

// Plain answers the legacy forms, to the byte as legacy nodes do: exactly one of args
// (what follows "work " in a line) and params (the keys of a JSON line) is set.
func (c *Command) Plain(ctx context.Context, s Session, args *string, params map[string]json.RawMessage) (any, error) {
	var r plainRequest
	var err error
	if args != nil {
		r, err = parsePlain(*args)
	} else {
		r, err = parseLegacyJSON(params)
	}
	if err != nil {
		return nil, err
	}
	result, err := c.plain(ctx, s, r)
	c.w.noteDenied(r.sub, r.unit, r.typ, err)
	return result, err
}

func (c *Command) plain(ctx context.Context, s Session, r plainRequest) (any, error) {
	switch r.sub {
	case "submit":
		return nil, c.plainSubmit(ctx, s, r)
	case "list":
		return c.plainList(s, r)
	case "status":
		u, err := c.w.store.Get(r.unit)
		if err != nil {
			return nil, unknownUnit(r.unit, err)
		}
		return c.plainStatusFor(s, r, u)
	}
	if u, err := c.w.store.Get(r.unit); err != nil {
		return nil, unknownUnit(r.unit, err)
	} else if err := c.authorize(s, u.Spec.Secure, r.signature, c.legacySignature); err != nil {
		return nil, err
	}
	switch r.sub {
	case "results":
		return nil, c.plainResults(ctx, s, r)
	case "cancel":
		ended, err := c.w.Cancel(ctx, r.unit)
		return answer(r.unit, "cancelled", "cancel pending", ended, err)
	default: // release, force-release
		released, err := c.w.Release(ctx, r.unit, r.sub == "force-release")
		return answer(r.unit, "released", "release pending", released, err)
	}
}

var errBadCommand = errors.New("bad command")

// parsePlain parses a plain line: words separated by single spaces.
func parsePlain(args string) (r plainRequest, err error) {
	sub, rest, given := strings.Cut(args, " ")
	r.sub = strings.ToLower(sub)
	var words []string
	if given {
		words = strings.Split(rest, " ")
	}
	switch r.sub {
	case "submit":
		if len(words) < 2 {
			return r, errors.New("work submit requires a target node and work type")
		}
		r.node, r.typ = words[0], words[1]
		if len(words) > 2 {
			r.params = map[string]string{"params": strings.Join(words[2:], " ")}
		}
		return r, nil
	case "list":
		if len(words) > 0 {
			r.unit = words[0]
		}
		return r, nil
	case "results":
		switch len(words) {
		case 0:
			return r, errors.New("work results requires a unit ID")
		case 1:
		case 2:
			if r.start, err = strconv.ParseInt(words[1], 10, 64); err != nil {
				return r, fmt.Errorf("error converting start position to integer: %w", err)
			}
		default:
			return r, errors.New("work results only takes a unit ID and optional start position")
		}
	case "status", "cancel", "release", "force-release":
		if len(words) == 0 {
			return r, fmt.Errorf("work %s requires a unit ID", r.sub)
		}
		if len(words) > 1 {
			return r, fmt.Errorf("work %s does not take parameters after the unit ID", r.sub)
		}
	default:
		return r, errBadCommand
	}
	r.unit = words[0]
	return r, nil
}

// parseLegacyJSON parses the keys of a JSON line.
func parseLegacyJSON(keys map[string]json.RawMessage) (r plainRequest, err error) {
	if r.sub, err = field(keys, "subcommand"); err != nil {
		return r, err
	}
	r.sub = strings.ToLower(r.sub)
	switch r.sub {
	case "submit":
		return r, r.submitKeys(keys)
	case "list":
		if _, ok := keys["unitid"]; ok {
			r.unit, err = field(keys, "unitid")
		}
		if s, ok := jsonString(keys["signature"]); ok { // existing nodes do not look at it
			r.signature = s
		}
		return r, err
	case "status", "results", "cancel", "release", "force-release":
	default:
		return r, errBadCommand
	}
	if r.unit, err = field(keys, "unitid"); err != nil {
		return r, err
	}
	if _, ok := keys["signature"]; ok {
		if r.signature, err = field(keys, "signature"); err != nil {
			return r, err
		}
	}
	if r.sub == "results" {
		r.start, err = startKey(keys)
	}
	return r, err
}

// submitKeys takes the keys of a submit: all that is not of the command itself is a
// parameter.
func (r *plainRequest) submitKeys(keys map[string]json.RawMessage) (err error) {
	if r.node, err = field(keys, "node"); err != nil {
		return err
	}
	if r.typ, err = field(keys, "worktype"); err != nil {
		return err
	}
	r.params = make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		v, ok := jsonString(keys[key])
		if !ok {
			return fmt.Errorf("submit parameters must all be strings and %s is not", key)
		}
		switch key {
		case "subcommand", "node", "worktype":
		case "signwork":
			r.sign = strings.EqualFold(v, "true")
		case "tlsclient":
			r.tlsClient = v
		case "ttl":
			r.ttl = v
		case "signature":
			r.signature = v
		default:
			r.params[key] = v
		}
	}
	return nil
}

func field(keys map[string]json.RawMessage, key string) (string, error) {
	raw, ok := keys[key]
	if !ok {
		return "", fmt.Errorf("field %s missing", key)
	}
	v, ok := jsonString(raw)
	if !ok {
		return "", fmt.Errorf("field %s must be a string", key)
	}
	return v, nil
}

// startKey is the key startpos, which is required and a number.
func startKey(keys map[string]json.RawMessage) (int64, error) {
	raw, ok := keys["startpos"]
	if !ok {
		return 0, errors.New("field startpos missing")
	}
	var n float64
	if s, isString := jsonString(raw); isString || json.Unmarshal(raw, &n) != nil || string(raw) == "null" {
		if !isString {
			s = string(raw)
		}
		return 0, fmt.Errorf("field startpos value %s is not convertible to an int", s)
	}
	return int64(n), nil
}

// plainSubmit holds the dialogue of a submit.
func (c *Command) plainSubmit(ctx context.Context, s Session, r plainRequest) error {
	request := Request{Type: r.typ, Params: r.params, Merged: true}
	if c.isLocal(r.node) {
		if r.ttl != "" {
			return errors.New("ttl option is intended for remote work only")
		}
	} else {
		request.Node, request.TLSClient = r.node, r.tlsClient
		var err error
		if request.TTL, err = duration("ttl", r.ttl); err != nil {
			return plainText(err)
		}
	}
	if request.Node == "" {
		c.w.awaitOffer(ctx, r.typ)
	}
	secure := c.isSecure(r.typ) // a type here, whichever node is meant
	if err := c.authorize(s, secure, r.signature, c.legacySignature); err != nil {
		return err
	}
	request.unsigned = !secure && !s.Local()
	if request.Node != "" && r.sign {
		request.Sign = true
		if err := c.maySign(s); err != nil {
			return err
		}
	}
	err := c.w.askNode(ctx, request)
	if err != nil {
		return plainText(err)
	}
	unit, err := c.w.Submit(request)
	if err != nil {
		return plainText(err)
	}
	conn, err := s.Hijack(fmt.Sprintf("Work unit created with ID %s. Send stdin data and EOF.", unit.Unit.ID))
	if err != nil {
		return errors.Join(err, unit.Abort("the connection was lost"))
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.Copy(unit, newIdleReader(s, conn)); err != nil {
		_, _ = io.WriteString(conn, errorLine(errors.Join(err, unit.Abort("error reading stdin: "+err.Error()))))
		drain(conn)
		return nil
	}
	u, err := unit.Commit(ctx)
	_, err = io.WriteString(conn, submitAnswer(u, err))
	return err
}

// submitAnswer is the last line of a submit.
func submitAnswer(u Status, err error) string {
	result := "Job Started"
	switch {
	case err != nil:
		return errorLine(err)
	case u.State == Failed && u.Started.IsZero() && u.Exit == nil:
		return errorLine(errors.New(u.Detail))
	case u.State == Pending:
		result = "Job Submitted" // it waits for a slot, or for its worker
	}
	return fmt.Sprintf(`{"result":%q,"unitid":%q}`+"\n", result, u.ID)
}

// plainText is an error of a request without our own addition to it.
func plainText(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), ErrInvalid.Error()+": "); ok {
		return errors.New(text)
	}
	return err
}

func errorLine(err error) string {
	return "ERROR: " + strings.NewReplacer("\r", "", "\n", " ").Replace(err.Error()) + "\n"
}

// plainResults sends what a unit has written, and nothing else: what is cut off is
// aborted.
func (c *Command) plainResults(ctx context.Context, s Session, r plainRequest) error {
	if r.start < 0 {
		return errors.New("error converting start position to integer: it is negative")
	}
	conn, err := s.Hijack("Streaming results for work unit " + r.unit)
	if err != nil {
		return err
	}
	ctx, ended := untilReset(ctx, conn)
	defer ended()
	_, err = c.w.Results(ctx, r.unit, From{Stdout: r.start, Stderr: Skip}, func(chunk Chunk) error {
		_, err := conn.Write(chunk.Data)
		return err
	})
	if err != nil {
		reset(conn)
		return err
	}
	return conn.Close()
}

// plainStatus is a unit as legacy nodes tell it.
type plainStatus struct {
	Detail     string
	ExtraData  any
	State      int
	StateName  string
	StdoutSize int64
	WorkType   string
}

func (c *Command) plainStatus(u store.Unit) plainStatus {
	stdout := u.Stdout.Size
	if !u.State.Final() {
		c.w.mu.Lock()
		u.Detail = c.w.detail(u)
		if l := c.w.live[u.ID]; l != nil {
			stdout = l.stdout
		}
		c.w.mu.Unlock()
	}
	_, name := u.State.Legacy()
	l := u.Legacy(u.Spec.WithoutSecrets(), stdout)
	return plainStatus{Detail: l.Detail, ExtraData: l.ExtraData, State: l.State, StateName: name, StdoutSize: l.StdoutSize, WorkType: l.WorkType}
}

// plainStatusFor is a unit as the client may see it.
func (c *Command) plainStatusFor(s Session, r plainRequest, u store.Unit) (any, error) {
	p := c.plainStatus(u)
	if u.Spec.Secure && !s.Local() && r.signature == "" && c.w.c.Unsigned == UnsignedStatus {
		p.ExtraData = nil // it has the parameters
		return p, nil
	}
	if err := c.mayRead(s, u.Spec.Secure, r.signature); err != nil {
		return nil, err
	}
	return p, nil
}

// mayRead tells whether a client may have all that there is to say of a unit.
func (c *Command) mayRead(s Session, secure bool, signature string) error {
	if !secure || signature == "" && c.w.c.Unsigned == UnsignedList {
		return nil
	}
	return c.authorize(s, secure, signature, c.legacySignature)
}

// plainList is all units that the client may see, or one of them, by ID.
func (c *Command) plainList(s Session, r plainRequest) (any, error) {
	all := make(map[string]any)
	if r.unit != "" {
		u, err := c.w.store.Get(r.unit)
		if err != nil {
			return nil, unknownUnit(r.unit, err)
		}
		all[u.ID], err = c.plainStatusFor(s, r, u)
		if err != nil {
			return nil, err
		}
		return all, nil
	}
	hidden := c.mayRead(s, true, r.signature)
	if hidden != nil && r.signature != "" {
		return nil, hidden
	}
	for _, u := range c.w.store.List() {
		if !u.Spec.Secure || hidden == nil {
			all[u.ID] = c.plainStatus(u)
		}
	}
	return all, nil
}

// answer is {"done":unit} or {"pending":unit}.
func answer(unit, done, pending string, is bool, err error) (any, error) {
	if err != nil {
		return nil, unknownUnit(unit, err)
	}
	if !is {
		done = pending
	}
	return map[string]string{done: unit}, nil
}
