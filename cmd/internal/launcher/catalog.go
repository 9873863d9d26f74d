package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// Plug is an installed plug and what it describes.
type Plug struct {
	Program
	Version string
	Kinds   []wire.Kind // with the parameters that the core adds
}

// Catalog is what the installed plugs describe.
type Catalog struct {
	Plugs   []Plug           // sorted by name
	Ignored map[string]error // why other programs are not among them, by name

	as *identity // whom plugs run as; nil: whoever runs this
}

// How long a plug may take to describe itself: it only prints what is built
// into it. One that is needed gets a second chance on a busy machine.
const (
	describeTimeout = time.Second
	patience        = 10 * time.Second
)

// maxDescription is more than any plug has to say: a HELLO is at most 64 KiB.
const maxDescription = 1 << 20

// Discover asks all installed plugs at once what they are, and waits for those
// that answer within the timeout.
func Discover(ctx context.Context, dirs []string, timeout time.Duration, as *identity) *Catalog {
	programs, ignored := findPlugs(dirs)
	c := &Catalog{Ignored: ignored, as: as}
	c.describeAll(ctx, programs, timeout)
	return c
}

// describeAll adds the plugs that describe themselves in time, and notes the others.
func (c *Catalog) describeAll(ctx context.Context, programs []Program, timeout time.Duration) {
	plugs, errs := make([]Plug, len(programs)), make([]error, len(programs))
	var wg sync.WaitGroup
	for i, p := range programs {
		wg.Go(func() { plugs[i], errs[i] = describe(ctx, p, timeout, c.as) })
	}
	wg.Wait()
	for i, p := range programs {
		if errs[i] != nil {
			c.Ignored[p.Name] = &describeError{p, errs[i]}
			continue
		}
		delete(c.Ignored, p.Name)
		c.Plugs = append(c.Plugs, plugs[i])
	}
	slices.SortFunc(c.Plugs, func(a, b Plug) int { return strings.Compare(a.Name, b.Name) })
}

// describeError is why a program is no use as a plug.
type describeError struct {
	program Program
	err     error
}

func (e *describeError) Error() string {
	return e.program.Path + " does not describe itself: " + e.err.Error()
}
func (e *describeError) Unwrap() error { return e.err }

// describe runs "<program> describe", which prints the plug's HELLO.
func describe(ctx context.Context, p Program, timeout time.Duration, as *identity) (Plug, error) {
	if err := as.may(p.Path, canExecute); err != nil {
		return Plug{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Path, "describe") //nolint:gosec // found where only root or we can install
	var out bytes.Buffer
	limited := &limitedWriter{&out, maxDescription}
	cmd.Stdout = limited
	detach(cmd)
	if as != nil {
		as.become(cmd)
	}
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = timeout
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return Plug{}, fmt.Errorf("no answer within %v: %w", timeout, ctx.Err())
	case limited.n < 0:
		return Plug{}, fmt.Errorf("it prints more than %d MiB", maxDescription>>20)
	case err != nil:
		return Plug{}, err
	}
	var hello wire.Hello
	if err := json.Unmarshal(out.Bytes(), &hello); err != nil {
		return Plug{}, err
	}
	if len(hello.Kinds) == 0 {
		return Plug{}, errors.New("it claims no kinds")
	}
	plug := Plug{Program: p, Version: hello.ProgramVersion}
	for _, k := range hello.Kinds {
		k.Params = append(slices.Clone(k.Params), plughost.PolicyParams(k)...)
		if err := schema.CheckKind(&k); err != nil {
			return Plug{}, err
		}
		plug.Kinds = append(plug.Kinds, k)
	}
	return plug, nil
}

// limitedWriter fails after n bytes; then n is negative.
type limitedWriter struct {
	w io.Writer
	n int
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if l.n -= len(b); l.n < 0 {
		return 0, io.ErrShortWrite
	}
	return l.w.Write(b)
}

// Find returns the plug that a kind or alias belongs to, and its description.
func (c *Catalog) Find(kind string) (*Plug, *wire.Kind) {
	for i := range c.Plugs {
		if k := schema.Find(c.Plugs[i].Kinds, kind); k != nil {
			return &c.Plugs[i], k
		}
	}
	return nil, nil
}

// Complete tells whether every kind of items is known.
func (c *Catalog) Complete(items []config.Item) bool {
	return !slices.ContainsFunc(items, func(i config.Item) bool { p, _ := c.Find(i.Kind); return p == nil })
}

// Retry gives the plugs that were too slow a second chance.
func (c *Catalog) Retry(ctx context.Context) {
	var slow []Program
	for _, err := range c.Ignored {
		var d *describeError
		if errors.As(err, &d) && errors.Is(err, context.DeadlineExceeded) {
			slow = append(slow, d.program)
		}
	}
	c.describeAll(ctx, slow, patience)
}

// Check checks items against what the plugs describe and returns the plugs
// that they need. The error is a [config.Errors].
func (c *Catalog) Check(items []config.Item) ([]*Plug, error) {
	var needed []*Plug
	var errs config.Errors
	labels := map[string]string{} // by identity
	for _, item := range items {
		plug, kind := c.Find(item.Kind)
		if plug == nil {
			errs = append(errs, fmt.Errorf("%s: %s", item.Label, c.unknown(item.Kind)))
			continue
		}
		values, mistakes := schema.Check(kind, item.Kind, item.Label, item.Params)
		if errs = append(errs, mistakes...); len(mistakes) > 0 {
			continue
		}
		id := schema.Identity(kind, values)
		if first, twice := labels[id]; twice {
			errs = append(errs, fmt.Errorf("%s: there can be one %s only, and %q is one already", item.Label, id, first))
		}
		labels[id] = item.Label
		if !slices.Contains(needed, plug) {
			needed = append(needed, plug)
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return needed, nil
}

// unknown says what to do about a kind that nobody claims.
func (c *Catalog) unknown(kind string) string {
	text := "unknown kind " + kind
	if program := plughost.ProgramFor(kind); program != "" {
		if why := c.Ignored[program]; why != nil {
			return text + ": " + oneLine(why)
		}
		return text + ": install " + program
	}
	if n := c.nearest(kind); n != "" {
		return text + ": did you mean " + n + "?"
	}
	text += ": no installed plug claims it"
	for _, name := range slices.Sorted(maps.Keys(c.Ignored)) {
		text += "; " + oneLine(c.Ignored[name])
	}
	return text
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
