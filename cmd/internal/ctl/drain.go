package ctl

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) drainCommand() *cobra.Command {
	var deadline time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Have the node take no new work",
		Long: `Have the node take no new units of work. What it has goes on, and the mesh is told
that there is no work to be had here. undrain ends that, and so does a restart.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if deadline < 0 {
				return usagef("--deadline is negative")
			}
			c, err := a.controller()
			if err != nil {
				return err
			}
			d, err := c.Drain(cmd.Context(), deadline)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSONLine(a.Stdout, d)
			}
			_, err = fmt.Fprintf(a.Stdout, "Draining since %s, units left: %d\n", d.Since.Local().Format(time.DateTime), d.Left)
			return err
		},
	}
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "cancel what still runs after that time; 0: never")
	return cmd
}

func (a *app) undrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "undrain",
		Short: "Have the node take new work again",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.controller()
			if err != nil {
				return err
			}
			return c.Undrain(cmd.Context())
		},
	}
}
