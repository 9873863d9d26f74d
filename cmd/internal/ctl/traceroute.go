package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) tracerouteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "traceroute NODE",
		Short: "Show the way to a node",
		Long: `Print each node on the way to a node, and its time.

With --json each hop is one line of JSON.`,
		Args: params("node"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.traceroute(cmd.Context(), args[0]) },
	}
}

// traceroute prints hops as they come, or all at once where the node is legacy. A
// hop that fails is an answer, not an error of ours.
func (a *app) traceroute(ctx context.Context, node string) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Call("traceroute", map[string]any{"node": node}, func(event json.RawMessage) error {
		var r reply
		if err := json.Unmarshal(event, &r); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return a.printHop(r)
	})
	if !errors.Is(err, errLegacy) {
		return err
	}
	line, err := c.Plain("traceroute " + node)
	if err != nil {
		return err
	}
	var legacy map[string]legacyReply
	if err := json.Unmarshal([]byte(line), &legacy); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	hops := make(map[int]reply)
	for key, l := range legacy {
		hop, err := strconv.Atoi(key)
		if err != nil {
			return fmt.Errorf("read answer: hop %q is no number", key)
		}
		r := l.reply()
		r.Hop = &hop
		hops[hop] = r
	}
	for _, hop := range slices.Sorted(maps.Keys(hops)) {
		if err := a.printHop(hops[hop]); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printHop(r reply) error {
	hop := 0
	if r.Hop != nil {
		hop = *r.Hop
	}
	switch {
	case a.json:
		return writeJSONLine(a.Stdout, r)
	case r.Error != nil:
		a.error(fmt.Sprintf("%d: Error %s from %s in %s", hop, r.Error.Msg, r.From, r.Time))
		return nil
	}
	_, err := fmt.Fprintf(a.Stdout, "%d: %s in %s\n", hop, printable(r.From), printable(r.Time))
	return err
}
