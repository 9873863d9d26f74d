package ctl

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions of receptorctl and of the node",
		Long: `Show the versions of receptorctl and of the node. They need not be the same:
what each side can do is found out in the conversation.`,
		Args: params(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.printVersion(cmd.Context()) },
	}
}

func (a *app) printVersion(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	line, err := c.Plain(`{"command":"status","requested_fields":["Version"]}`)
	if err != nil {
		return err
	}
	var node struct{ Version string }
	if err := json.Unmarshal([]byte(line), &node); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if a.json {
		return writeJSON(a.Stdout, map[string]string{"receptorctl": a.Version, "receptor": node.Version})
	}
	_, err = fmt.Fprintf(a.Stdout, "%-13s%s\n%-13s%s\n", "receptorctl", a.Version, "receptor", printable(node.Version))
	return err
}
