package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// pollInterval is how often --wait-node looks again.
const pollInterval = 100 * time.Millisecond

func (a *app) statusCommand() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the node knows",
		Long: `Show the node's connections, routes, services, links, items and plugs.

With --json all of it is one JSON object: the keys of a legacy status begin with
a capital, those of our own form with a small letter.

--wait-node waits first until there is a route to a node, and for the control
socket to appear, for as long as --timeout says.`,
		Args: params(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if node != "" {
				if err := a.waitNode(cmd.Context(), node); err != nil {
					return err
				}
			}
			return a.status(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&node, "wait-node", "", "wait until there is a route to this node")
	return cmd
}

func (a *app) status(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	legacy, err := c.Plain("status")
	if err != nil {
		return err
	}
	own, err := c.Call("status", struct{}{}, nil)
	if err != nil && !errors.Is(err, errLegacy) {
		return err
	}
	if a.json {
		return a.statusJSON([]byte(legacy), own)
	}
	if err := writeLegacyStatus(a.Stdout, []byte(legacy)); err != nil || own == nil {
		return err
	}
	return writeOwnStatus(a.Stdout, own)
}

// statusJSON prints both answers as one object; they have no key in common.
func (a *app) statusJSON(answers ...[]byte) error {
	all := make(map[string]any)
	for _, raw := range answers {
		if raw == nil {
			continue
		}
		m, err := decodeAny(raw)
		if err != nil {
			return err
		}
		for k, v := range m {
			all[k] = v
		}
	}
	return writeJSON(a.Stdout, all)
}

// errStillWaiting is why --wait-node gave up.
var errStillWaiting = errors.New("still waiting")

// waitNode waits until there is a route to node. Errors that can pass, such as a
// socket that is not there yet, do not end it.
func (a *app) waitNode(ctx context.Context, node string) error {
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	var c *Client
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	var reason error // why not yet, as far as it was not the end of our own patience
	for {
		var err error
		if c == nil {
			c, err = a.dial(ctx)
		}
		there := false
		if err == nil {
			there, err = hasRoute(c, node)
		}
		if there {
			return nil
		}
		var usage *usageError
		if errors.As(err, &usage) && !errors.Is(err, errNoSocket) {
			return err
		}
		if err != nil && c != nil {
			c.Close()
			c = nil
		}
		switch {
		case err == nil:
			reason = fmt.Errorf("no route to node %s", node)
		case ctx.Err() == nil || reason == nil:
			reason = err
		}
		if pause(ctx, pollInterval) != nil {
			return fmt.Errorf("%w: %w", errStillWaiting, reason)
		}
	}
}

// hasRoute asks in a form that all nodes know.
func hasRoute(c *Client, node string) (bool, error) {
	line, err := c.Plain(`{"command":"status","requested_fields":["NodeID","RoutingTable"]}`)
	if err != nil {
		return false, err
	}
	var st struct {
		NodeID       string
		RoutingTable map[string]string
	}
	if err := json.Unmarshal([]byte(line), &st); err != nil {
		return false, fmt.Errorf("read answer: %w", err)
	}
	_, ok := st.RoutingTable[node]
	return ok || node == st.NodeID, nil
}
