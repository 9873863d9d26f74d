package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/project-receptor/receptor/workceptor/client"
)

// unitError is a unit that was followed and has not succeeded.
type unitError struct{ detail string }

func (e *unitError) Error() string { return "Remote unit failed: " + e.detail }

// detachedError is the end of following a unit that goes on: it says how to.
type detachedError struct{ text string }

func (e *detachedError) Error() string { return e.text }

func (a *app) workResultsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "results UNIT_ID",
		Short: "Print what a unit has written, and goes on writing",
		Long: `Print a unit's standard output, from its beginning until the unit has ended, each
piece when it is there. When the connection is cut it goes on by itself; at the
end all was printed, as its size and its digest show.

With --json each line is an object: stream, offset, next, and line (or base64, if
it is no text); the last one has the unit.`,
		Args: unitID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.results(cmd.Context(), args[0], client.From{Stderr: client.Skip})
		},
	}
}

func (a *app) workFollowCommand() *cobra.Command {
	var from client.From
	cmd := &cobra.Command{
		Use:   "follow UNIT_ID",
		Short: "Print what a unit writes, on both of its streams",
		Long: `Print what a unit writes to our standard output and error, from the beginning or
from a byte on, until the unit has ended. See results.

^C ends it. The unit goes on, and what is printed says how to go on, too.`,
		Args: unitID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if from.Stdout < client.Skip || from.Stderr < client.Skip {
				return errors.New("--stdout-from and --stderr-from are bytes, or -1 for nothing")
			}
			return a.results(cmd.Context(), args[0], from)
		},
	}
	cmd.Flags().Int64Var(&from.Stdout, "stdout-from", 0, "byte of its standard output to begin at; -1: not at all")
	cmd.Flags().Int64Var(&from.Stderr, "stderr-from", 0, "byte of its standard error to begin at; -1: not at all")
	return cmd
}

// results prints what a unit writes until it has ended.
func (a *app) results(ctx context.Context, unit string, from client.From) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	c.Close() // it is there; errors from here on may pass
	k, err := a.controller()
	if err != nil {
		return err
	}
	follow := a.followBytes
	if a.json {
		follow = a.followJSON
	}
	at := from // where to go on
	u, err := follow(ctx, k, unit, &at)
	var refused *client.Error
	switch {
	case errors.Is(err, client.ErrLegacy):
		return a.legacyResults(ctx, unit)
	case ctx.Err() != nil:
		return a.detached(unit, at)
	case errors.Is(err, client.ErrGone), errors.Is(err, client.ErrNotFound):
		return fmt.Errorf("Failed to get results: unknown work unit %s", unit) //nolint:staticcheck // scripts know this text
	case errors.As(err, &refused):
		return fmt.Errorf("Failed to get results: %w", err) //nolint:staticcheck // scripts know this text
	case errors.Is(err, client.ErrLost):
		return fmt.Errorf("%w (go on with: %s)", err, a.howToGoOn(unit, at))
	case err != nil:
		return err
	case u.State != client.Succeeded:
		return &unitError{u.Detail}
	}
	return nil
}

// followBytes passes the bytes on.
func (a *app) followBytes(ctx context.Context, k *client.Client, unit string, at *client.From) (client.Status, error) {
	bar := a.progress(isFile(a.Stdout))
	defer bar.end()
	return k.Results(ctx, unit, *at, func(c client.Chunk) error {
		to, next := a.Stdout, &at.Stdout
		if c.Stream == client.Stderr {
			to, next = a.Stderr, &at.Stderr
		}
		n, err := to.Write(c.Data)
		*next += int64(n)
		bar.at(at.Stdout, 0)
		return err
	})
}

// line is a line of a unit in JSON.
type line struct {
	Stream client.Stream `json:"stream"`
	Offset int64         `json:"offset"`
	Next   int64         `json:"next"`
	Line   *string       `json:"line,omitempty"`
	Base64 []byte        `json:"base64,omitempty"`
	More   bool          `json:"more,omitempty"`
}

// followJSON makes an object of each line, and of the unit at the end.
func (a *app) followJSON(ctx context.Context, k *client.Client, unit string, at *client.From) (end client.Status, err error) {
	for r, err := range k.Responses(ctx, unit, *at, &end) {
		if err != nil {
			return end, err
		}
		l := line{Stream: r.Stream, Offset: r.Offset, Next: r.Next, More: r.More}
		if utf8.Valid(r.Line) {
			text := string(r.Line)
			l.Line = &text
		} else {
			l.Base64 = r.Line
		}
		if err := writeJSONLine(a.Stdout, l); err != nil {
			return end, err
		}
		if r.Stream == client.Stderr {
			at.Stderr = r.Next
		} else {
			at.Stdout = r.Next
		}
	}
	return end, writeJSONLine(a.Stdout, map[string]any{"unit": end})
}

func (a *app) detached(unit string, at client.From) error {
	return &detachedError{fmt.Sprintf("Unit %s goes on. Go on with: %s", printable(unit), a.howToGoOn(unit, at))}
}

func (a *app) howToGoOn(unit string, at client.From) string {
	words := []string{"receptorctl"}
	if a.socket != "" {
		words = append(words, "--socket", a.socket)
	}
	words = append(words, "work", "follow", unit)
	for _, s := range []struct {
		flag string
		at   int64
	}{{"--stdout-from", at.Stdout}, {"--stderr-from", at.Stderr}} {
		if s.at != 0 {
			words = append(words, s.flag, fmt.Sprint(s.at))
		}
	}
	return printable(strings.Join(words, " "))
}

// legacyResults is the same with a legacy node: once, and without a proof that it
// was all.
func (a *app) legacyResults(ctx context.Context, unit string) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Plain("work results " + unit + " 0")
	if e := (*NodeError)(nil); errors.As(err, &e) {
		return fmt.Errorf("Failed to get results: %w", err) //nolint:staticcheck // scripts know this text
	}
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "Streaming results for work unit") {
		return fmt.Errorf("Failed to get results: %s", answer) //nolint:staticcheck // scripts know this text
	}
	conn, in, err := c.Raw()
	if err != nil {
		return err
	}
	if err := closeWrite(conn); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("end our side: %w", err)
	}
	n, err := io.Copy(a.Stdout, in)
	switch {
	case ctx.Err() != nil:
		return a.detached(unit, client.From{Stdout: n})
	case err != nil:
		return fmt.Errorf("read results: %w", err)
	}
	return a.legacyEnd(ctx, unit)
}

// legacyEnd tells how a unit has ended.
func (a *app) legacyEnd(ctx context.Context, unit string) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Plain("work status " + unit)
	if err != nil {
		return err
	}
	var u struct {
		State  int
		Detail string
	}
	if err := json.Unmarshal([]byte(answer), &u); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	const failed = 3
	if u.State == failed {
		return &unitError{u.Detail}
	}
	return nil
}
