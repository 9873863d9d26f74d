package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-receptor/receptor/workceptor/client"
)

// exitSubmit is the exit code of a submission that came to nothing.
const exitSubmit = 101

func (a *app) workCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Units of work",
		Long: `Submit units of work, follow what they write, cancel and release them.

Exit codes:
  0    success; also when interrupted: the unit goes on
  1    error, a usage error too, or a unit that was followed has not succeeded
  101  the submission came to nothing`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("No such command '%s'.", args[0]) //nolint:staticcheck // scripts know this text
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	cmd.AddCommand(
		a.workSubmitCommand(), a.workListCommand(), a.workStatusCommand(), a.workResultsCommand(), a.workFollowCommand(),
		a.workCancelCommand(), a.workReleaseCommand(), a.workForceReleaseCommand(),
	)
	return cmd
}

// flagError is a mistake in an option, in the words that scripts know.
func flagError(err error) error {
	var missing interface {
		GetSpecifiedName() string
		GetSpecifiedShortnames() string
	}
	if !errors.As(err, &missing) {
		return err
	}
	option := "--" + missing.GetSpecifiedName()
	if s := missing.GetSpecifiedShortnames(); s != "" {
		option = "-" + s[:1]
	}
	if strings.Contains(err.Error(), "needs an argument") {
		return fmt.Errorf("Option '%s' requires an argument.", option) //nolint:staticcheck // scripts know this text
	}
	return fmt.Errorf("No such option: %s", option) //nolint:staticcheck // scripts know this text
}

// unitID wants one unit.
func unitID(_ *cobra.Command, args []string) error {
	if err := params("unit_id")(nil, args); err != nil {
		return errors.New(err.Error()) // exit 1, as with legacy
	}
	return nil
}

// controller is the client of our own form. Each of its requests has a connection of
// its own: the first one has told already that the node is there.
func (a *app) controller() (*client.Client, error) {
	address, tls, err := a.where()
	if err != nil {
		return nil, err
	}
	told := time.Time{}
	return &client.Client{
		Patience: a.timeout,
		Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
			return address.dial(ctx, tls)
		},
		Lost: func(err error) {
			if time.Since(told) > 5*time.Second {
				a.warn(fmt.Sprintf("%v; trying again", err))
			}
			told = time.Now()
		},
	}, nil
}

func (a *app) workListCommand() *cobra.Command {
	var node, unit, tls string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List units of work",
		Long: `List the units of a node, as JSON, by their IDs.

With --json it is what only our nodes know: each unit's phase, place in the queue,
exit and sizes, and the types of work with their slots.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			if node != "" {
				if c, err = c.Through(cmd.Context(), node, tls); err != nil {
					return err
				}
			}
			defer c.Close()
			if a.json {
				return a.listOwn(c, unit)
			}
			return a.list(c, unit, quiet)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quiet, "quiet", "q", false, "only the IDs, one a line")
	f.StringVar(&node, "node", "", "of this node")
	f.StringVar(&unit, "unit_id", "", "only this unit")
	f.StringVar(&tls, "tls-client", "", "TLS client profile of our node, for the way to that node")
	return cmd
}

// none wants no arguments.
func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("Got unexpected extra argument (%s)", args[0]) //nolint:staticcheck // scripts know this text
	}
	return nil
}

func (a *app) list(c *Client, unit string, quiet bool) error {
	units, err := listUnits(c, unit)
	if err != nil {
		return err
	}
	if !quiet {
		return writeJSON(a.Stdout, units)
	}
	for _, id := range slices.Sorted(maps.Keys(units)) {
		if _, err := fmt.Fprintln(a.Stdout, printable(id)); err != nil {
			return err
		}
	}
	return nil
}

func listUnits(c *Client, unit string) (map[string]any, error) {
	line := "work list"
	if unit != "" {
		line += " " + unit
	}
	answer, err := c.Plain(line)
	if err != nil {
		return nil, err
	}
	return decodeAny([]byte(answer))
}

// listOwn prints what our own form tells.
func (a *app) listOwn(c *Client, unit string) error {
	args := map[string]any{"subcommand": "list"}
	if unit != "" {
		args = map[string]any{"subcommand": "status", "unit": unit}
	}
	answer, err := c.Call("work", args, nil)
	if err != nil {
		return err
	}
	all, err := decodeAny(answer)
	if err != nil {
		return err
	}
	return writeJSON(a.Stdout, all)
}

func (a *app) workStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status UNIT_ID",
		Short: "Show a unit of work",
		Long: `Show a unit: its state, how it ended, what it has written, and its history.

With --json it is one JSON object.`,
		Args: unitID,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			answer, err := c.Call("work", map[string]any{"subcommand": "status", "unit": args[0]}, nil)
			if errors.Is(err, errLegacy) {
				var line string
				if line, err = c.Plain("work status " + args[0]); err == nil {
					return a.statusJSON([]byte(line))
				}
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.statusJSON(answer)
			}
			var u client.Status
			if err := json.Unmarshal(answer, &u); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			return a.writeUnit(u)
		},
	}
}

// workAct is a cancel or a release.
type workAct struct {
	heading, command string
	all              bool
}

func (a *app) workCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel [UNIT_ID...]",
		Short: "Cancel units of work",
		Long: `Have units end. A worker that is away, or a unit that does not want to end, makes
it "cancel pending": the wish is kept, and fulfilled when it can be.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.act(cmd.Context(), workAct{heading: "Cancelled:", command: "work cancel "}, args)
		},
	}
}

func (a *app) workReleaseCommand() *cobra.Command {
	var force, all bool
	cmd := &cobra.Command{
		Use:   "release [UNIT_ID...]",
		Short: "Release units of work",
		Long: `Have units end, and be forgotten with all that they have written. With --force
they are forgotten at once, even if their worker is away.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			act := workAct{heading: "Released:", command: "work release ", all: all}
			if force {
				act.command = "work force-release "
			}
			return a.act(cmd.Context(), act, args)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not wait for their worker")
	cmd.Flags().BoolVar(&all, "all", false, "all units of this node; those given do not count")
	return cmd
}

func (a *app) workForceReleaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "force-release [UNIT_ID...]",
		Short: "Release units of work at once, as release --force does",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.act(cmd.Context(), workAct{heading: "Released:", command: "work force-release "}, args)
		},
	}
}

// act does it to one unit after the other. The first that fails ends it.
func (a *app) act(ctx context.Context, act workAct, units []string) error {
	if len(units) == 0 && !act.all {
		a.warn("No unit IDs supplied: Not doing anything")
		return nil
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if act.all {
		all, err := listUnits(c, "")
		if err != nil {
			return err
		}
		units = slices.Sorted(maps.Keys(all))
	}
	if !a.json {
		if _, err := fmt.Fprintln(a.Stdout, act.heading); err != nil {
			return err
		}
	}
	for _, id := range units {
		if err := a.actOn(c, act.command, id); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) actOn(c *Client, command, unit string) error {
	answer, err := c.Plain(command + unit)
	if e := (*NodeError)(nil); errors.As(err, &e) {
		return fmt.Errorf("%s: ERROR: %w", unit, err) // which of them, and the words that scripts know
	}
	if err != nil {
		return err
	}
	var done map[string]string
	if err := json.Unmarshal([]byte(answer), &done); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	for what, id := range done {
		if a.json {
			return writeJSONLine(a.Stdout, map[string]string{"unitid": id, "result": what})
		}
		_, err = fmt.Fprintf(a.Stdout, "(%s, %s)\n", printable(id), printable(what))
	}
	return err
}
