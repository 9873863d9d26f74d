package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-receptor/receptor/workceptor/client"
)

// submitError is a submission that came to nothing.
type submitError struct{ err error }

func (e *submitError) Error() string { return e.err.Error() }
func (e *submitError) Unwrap() error { return e.err }

// submitOptions are those of work submit.
type submitOptions struct {
	node, file, literal, tls, ttl string
	disconnect                    string
	none, sign, follow, rm        bool
	params                        []string
}

// submission is what they come to.
type submission struct {
	submitOptions
	worktype string
	keys     []string // of values, in their order
	values   map[string]string
	payload  io.Reader
	size     int64 // of the payload; 0: not known

	onDisconnect   client.OnDisconnect
	disconnectTime time.Duration
}

func (a *app) workSubmitCommand() *cobra.Command {
	var o submitOptions
	cmd := &cobra.Command{
		Use:   "submit WORKTYPE [CMDPARAMS...]",
		Short: "Submit a unit of work",
		Long: `Submit a unit of work. CMDPARAMS, joined by spaces, are its parameter params; words
that begin with - need -- before them. The value of a --param that begins with @
names a file that holds it.

A submission that is cut is repeated, and makes one unit all the same.

With --node our node has another one run the unit, and keeps it for us. Without --ttl
there must be a way to that node now. --on-disconnect says what becomes of the unit
when that node goes away: wait for it, for as long as it takes; or fail, when it has
been away for TIME, 10m if none is given.

With --follow what the unit writes is printed while it writes it, and the exit code
is 1 if it has not succeeded. ^C ends that; the unit goes on.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("Missing parameter: worktype") //nolint:staticcheck // scripts know this text
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.submit(cmd.Context(), o, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.node, "node", "", "that is to run it; this one if it is not given")
	f.StringVarP(&o.file, "payload", "p", "", "file with its standard input; -: ours")
	f.StringVarP(&o.literal, "payload-literal", "l", "", "its standard input, and a line end")
	f.BoolVarP(&o.none, "no-payload", "n", false, "its standard input is empty")
	f.StringVar(&o.tls, "tls-client", "", "TLS client profile of our node, for the way to another")
	f.StringVar(&o.ttl, "ttl", "", "how long it may take until another node has begun with it, such as 1h30m")
	f.StringVar(&o.disconnect, "on-disconnect", "", "wait (the default), fail or fail:TIME: what becomes of it when that other node goes away")
	f.BoolVar(&o.sign, "signwork", false, "our node signs it, for another node that wants that; on its Unix socket only")
	f.BoolVarP(&o.follow, "follow", "f", false, "print what it writes until it has ended")
	f.BoolVar(&o.rm, "rm", false, "release it at the end")
	f.StringArrayVarP(&o.params, "param", "a", nil, "KEY=VALUE, a parameter; may be repeated")
	return cmd
}

func (a *app) submit(ctx context.Context, o submitOptions, worktype string, words []string) (err error) {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	s := &submission{submitOptions: o, worktype: worktype}
	stdin, err := s.openPayload(ctx, a.Stdin)
	if err != nil {
		return err
	}
	defer stdin.Close() // nothing was written
	if err := s.parameters(words); err != nil {
		return &submitError{err}
	}
	if err := s.disconnected(); err != nil {
		return err
	}
	if o.rm && !o.follow {
		a.warn("using --rm without --follow. Unit results will never be seen.")
	}
	result, unit, err := a.submitTo(ctx, c, s)
	if o.rm && unit != "" {
		// After a failure, too, and after ^C.
		defer func() {
			if rerr := a.remove(context.WithoutCancel(ctx), unit); rerr != nil {
				err = errors.Join(err, &submitError{rerr})
			}
		}()
	}
	switch {
	case err != nil && ctx.Err() == nil:
		return &submitError{err}
	case err != nil:
		return err
	case o.follow:
		err := a.results(ctx, unit, client.From{Stderr: client.Skip}) // it has both in one
		switch {
		case o.rm && errors.As(err, new(*detachedError)):
			return context.Cause(ctx) // there is nothing to go on with
		case err == nil, errors.As(err, new(*unitError)), errors.As(err, new(*detachedError)):
			return err
		}
		return &submitError{err}
	case a.json:
		return writeJSONLine(a.Stdout, map[string]string{"result": result, "unitid": unit})
	}
	_, err = fmt.Fprintf(a.Stdout, "Result: %s\nUnit ID: %s\n", printable(result), printable(unit))
	return err
}

// remove releases a unit that has had its use.
func (a *app) remove(ctx context.Context, unit string) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return a.actOn(c, "work release ", unit)
}

// openPayload finds the payload. It is to be closed.
func (s *submission) openPayload(ctx context.Context, stdin *os.File) (io.Closer, error) {
	given := 0
	for _, is := range []bool{s.file != "", s.literal != "", s.none} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return nil, errors.New("Must provide one of --payload, --no-payload or --payload-literal.") //nolint:staticcheck // scripts know this text
	case given > 1:
		return nil, errors.New("Cannot provide more than one of --payload, --no-payload and --payload-literal.") //nolint:staticcheck // scripts know this text
	case s.none:
		return io.NopCloser(nil), nil
	case s.literal != "":
		text := s.literal + "\n"
		s.payload, s.size = strings.NewReader(text), int64(len(text))
		return io.NopCloser(nil), nil
	}
	file := stdin
	if s.file != "-" {
		var err error
		if file, err = os.Open(s.file); err != nil {
			return nil, loadError(s.file, err)
		}
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, errors.Join(loadError(s.file, err), file.Close())
	}
	if info.Mode().IsRegular() {
		s.payload, s.size = file, info.Size()
		return file, nil
	}
	s.payload = interruptible(ctx, file)
	return io.NopCloser(nil), nil // it may be read for ever
}

// loadError has the words that scripts know.
func loadError(name string, err error) error {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return fmt.Errorf("Failed to load payload file: %w", err) //nolint:staticcheck // scripts know this text
	}
	text := number.Error()
	return fmt.Errorf("Failed to load payload file: [Errno %d] %s: '%s'", int(number), strings.ToUpper(text[:1])+text[1:], name) //nolint:staticcheck // scripts know this text
}

// interruptible is what file holds, until ctx is done. The goroutine that reads it may
// outlive that: a read of a terminal or a pipe cannot be interrupted, only left to the
// exit.
func interruptible(ctx context.Context, file io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(w, file)
		_ = w.CloseWithError(err)
	}()
	return r
}

// parameters takes them from --param and from the words that follow the type.
func (s *submission) parameters(words []string) error {
	s.values = make(map[string]string)
	reserved := map[string]bool{
		"command": true, "subcommand": true, "node": true, "worktype": true,
		"tlsclient": s.tls != "", "ttl": s.ttl != "", "signwork": s.sign,
	}
	for i, p := range s.params {
		key, value, ok := strings.Cut(p, "=")
		switch {
		case !ok:
			return fmt.Errorf("dictionary update sequence element #%d has length 1; 2 is required", i)
		case value == "":
			return errors.New("string index out of range")
		case value[0] == '@' && !strings.HasPrefix(value, "@@"):
			content, err := os.ReadFile(value[1:])
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s does not exist", value[1:])
			}
			if err != nil {
				return fmt.Errorf("read parameter %s: %w", key, err)
			}
			value = string(content)
		}
		if reserved[key] {
			return fmt.Errorf("Duplicate or illegal parameter %s", key) //nolint:staticcheck // scripts know this text
		}
		s.set(key, value)
	}
	if len(words) > 0 {
		if before, ok := s.values["params"]; ok {
			words = append([]string{before}, words...)
		}
		s.set("params", strings.Join(words, " "))
	}
	return nil
}

func (s *submission) set(key, value string) {
	if _, twice := s.values[key]; !twice {
		s.keys = append(s.keys, key)
	}
	s.values[key] = value
}

// disconnected takes --on-disconnect.
func (s *submission) disconnected() error {
	what, after, timed := strings.Cut(s.disconnect, ":")
	if s.onDisconnect = client.OnDisconnect(what); timed {
		s.disconnectTime, _ = time.ParseDuration(after) // 0 is none
	}
	switch {
	case s.disconnect == "", what == "wait" && !timed, what == "fail" && !timed, what == "fail" && s.disconnectTime > 0:
		return nil
	}
	return fmt.Errorf("Option '--on-disconnect' is wait, fail or fail:TIME such as fail:30m, not '%s'.", s.disconnect) //nolint:staticcheck // as others of its kind
}

// submitTo submits in our own form, which survives cuts, where the node knows it;
// else in the legacy one. With an error there may be a unit all the same.
func (a *app) submitTo(ctx context.Context, c *Client, s *submission) (result, unit string, err error) {
	bar := a.progress(true)
	defer bar.end()
	result, unit, err = a.submitOwn(ctx, c, s, bar)
	switch {
	case !errors.Is(err, client.ErrLegacy):
		return result, unit, err
	case s.disconnect != "":
		return "", "", fmt.Errorf("--on-disconnect cannot be had: %w", err)
	}
	return submitLegacy(c, s, bar)
}

// job is the submission in our own form.
func (s *submission) job(self string) (job client.Job, err error) {
	job = client.Job{Type: s.worktype, Params: s.values, Payload: s.payload, Merged: true}
	local := s.node == "" || s.node == self || strings.EqualFold(s.node, "localhost")
	if s.ttl != "" {
		job.TTL, err = time.ParseDuration(s.ttl)
	}
	switch {
	case err != nil:
	case local && s.ttl != "":
		err = errors.New("ttl option is intended for remote work only")
	case local && s.disconnect != "":
		err = errors.New("--on-disconnect is for work on other nodes only")
	case s.ttl != "" && job.TTL <= 0:
		err = fmt.Errorf("ttl is %s, and must be more than 0", s.ttl)
	case !local:
		job.Node, job.TLSClient, job.SignWork, job.OnDisconnect, job.DisconnectTime = s.node, s.tls, s.sign, s.onDisconnect, s.disconnectTime
	}
	if err != nil {
		err = fmt.Errorf("Failed to start work unit: %w", err) //nolint:staticcheck // scripts know this text
	}
	return job, err
}

func (a *app) submitOwn(ctx context.Context, c *Client, s *submission, bar *progress) (result, unit string, err error) {
	job, err := s.job(c.Node)
	if err != nil {
		return "", "", err
	}
	job.Progress = func(sent int64) { bar.at(sent, s.size) }
	k, err := a.controller()
	if err != nil {
		return "", "", err
	}
	u, err := k.Submit(ctx, job)
	var refused *client.Error
	switch {
	case errors.As(err, &refused):
		return "", "", fmt.Errorf("Failed to start work unit: %s", strings.TrimPrefix(err.Error(), "invalid request: ")) //nolint:staticcheck // scripts know this text
	case err != nil:
		return "", "", err
	case u.State == client.Failed && u.Started.IsZero() && u.Exit == nil:
		return "", u.ID, fmt.Errorf("Remote error: ERROR: %s", u.Detail) //nolint:staticcheck // scripts know this text
	case u.State == client.Pending:
		return "Job Submitted", u.ID, nil
	}
	return "Job Started", u.ID, nil
}

// line is the legacy request.
func (s *submission) line() (string, error) {
	node := s.node
	if node == "" {
		node = "localhost"
	}
	var b strings.Builder
	b.WriteString(`{"command":"work","subcommand":"submit"`)
	add := func(key, value string) error {
		k, err := json.Marshal(key)
		if err != nil {
			return err
		}
		v, err := json.Marshal(value)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, ",%s:%s", k, v)
		return nil
	}
	all := [][2]string{{"node", node}, {"worktype", s.worktype}}
	for _, o := range [][2]string{{"tlsclient", s.tls}, {"ttl", s.ttl}} {
		if o[1] != "" {
			all = append(all, o)
		}
	}
	if s.sign {
		all = append(all, [2]string{"signwork", "true"})
	}
	for _, key := range s.keys {
		all = append(all, [2]string{key, s.values[key]})
	}
	for _, kv := range all {
		if err := add(kv[0], kv[1]); err != nil {
			return "", fmt.Errorf("write request: %w", err)
		}
	}
	b.WriteByte('}')
	return b.String(), nil
}

// submitLegacy holds the legacy dialogue, on the conversation that there is.
func submitLegacy(c *Client, s *submission, bar *progress) (result, unit string, err error) {
	request, err := s.line()
	if err != nil {
		return "", "", err
	}
	answer, err := c.Plain(request)
	if e := (*NodeError)(nil); errors.As(err, &e) {
		return "", "", fmt.Errorf("Failed to start work unit: %w", err) //nolint:staticcheck // scripts know this text
	}
	if err != nil {
		return "", "", err
	}
	unit, ok := strings.CutPrefix(answer, "Work unit created with ID ")
	if unit, _, _ = strings.Cut(unit, "."); !ok {
		return "", "", fmt.Errorf("Failed to start work unit: %s", answer) //nolint:staticcheck // scripts know this text
	}
	conn, in, err := c.Raw()
	if err != nil {
		return "", unit, err
	}
	if s.payload != nil {
		if _, err := io.Copy(&counter{conn, bar, s.size, 0}, s.payload); err != nil {
			return "", unit, fmt.Errorf("send payload: %w", err)
		}
	}
	if err := closeWrite(conn); err != nil {
		return "", unit, fmt.Errorf("end payload: %w", err)
	}
	last, err := in.ReadString('\n')
	if err != nil {
		return "", unit, fmt.Errorf("read answer: %w", err)
	}
	last = strings.TrimRight(last, "\r\n")
	if strings.HasPrefix(last, "ERROR: ") {
		return "", unit, fmt.Errorf("Remote error: %s", last) //nolint:staticcheck // scripts know this text
	}
	var done struct{ Result, UnitID string }
	if err := json.Unmarshal([]byte(last), &done); err != nil {
		return "", unit, fmt.Errorf("read answer: %w", err)
	}
	return done.Result, done.UnitID, nil
}
