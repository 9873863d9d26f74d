package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) explainCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "explain NODE SERVICE",
		Short: "Say why the node can or cannot reach a service",
		Long: `Say why the node can or cannot reach a service: the route, the firewall rules of
the node, what is known of the service, and how the last dial to it went. Nobody
else is asked. --from asks another node instead, through the mesh.

Exit code 1 means that something is in the way.`,
		Args: params("node", "service"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.explain(cmd.Context(), from, args[0], args[1]) },
	}
	cmd.Flags().StringVar(&from, "from", "", "ask this node")
	return cmd
}

// errObstacle makes the exit code where something is in the way, which has been
// said.
var errObstacle = errors.New("something is in the way")

func (a *app) explain(ctx context.Context, from, node, service string) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if from != "" && from != c.Node {
		other, err := c.Through(ctx, from, "")
		if err != nil {
			return err
		}
		defer other.Close()
		c = other
	}
	raw, err := c.Call("explain", map[string]any{"node": node, "service": service}, nil)
	var refused *NodeError
	if errors.Is(err, errLegacy) || errors.As(err, &refused) && refused.Code == "unknown_command" {
		return fmt.Errorf("node %s cannot explain: it is a legacy node, or an older one", c.Node)
	}
	if err != nil {
		return err
	}
	var e explanation
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if a.json {
		var all map[string]any
		if all, err = decodeAny(raw); err == nil {
			err = writeJSON(a.Stdout, all)
		}
	} else {
		err = e.write(a.Stdout)
	}
	if err == nil && !e.OK {
		return errObstacle
	}
	return err
}

// explanation is the answer to explain.
type explanation struct {
	Node   string      `json:"node"`
	To     meshAddress `json:"to"`
	OK     bool        `json:"ok"`
	Reason string      `json:"reason"`
	Route  *struct {
		Path []struct {
			Node string      `json:"node"`
			Cost json.Number `json:"cost"`
		} `json:"path"`
		Cost json.Number `json:"cost"`
		Link *struct {
			Peer           string    `json:"peer"`
			State          string    `json:"state"`
			Legacy         bool      `json:"legacy"`
			Item           string    `json:"item"`
			Remote         string    `json:"remote"`
			Since          time.Time `json:"since"`
			FramesDropped  uint64    `json:"frames_dropped"`
			Authentication string    `json:"authentication"`
			TLS            string    `json:"tls"`
		} `json:"link"`
	} `json:"route"`
	Firewall []struct {
		From   meshAddress `json:"from"`
		To     meshAddress `json:"to"`
		Action string      `json:"action"`
		Number int         `json:"number"`
		Rule   string      `json:"rule"`
	} `json:"firewall"`
	Service struct {
		Bound      bool              `json:"bound"`
		Advertised bool              `json:"advertised"`
		Type       string            `json:"type"`
		Tags       map[string]string `json:"tags"`
		Time       time.Time         `json:"time"`
	} `json:"service"`
	Streams []struct {
		Streams        int    `json:"streams"`
		Connections    int    `json:"connections"`
		Authentication string `json:"authentication"`
		TLS            string `json:"tls"`
	} `json:"streams"`
	LastDial *struct {
		Time  time.Time `json:"time"`
		Took  string    `json:"took"`
		TLS   string    `json:"tls"`
		Error string    `json:"error"`
	} `json:"last_dial"`
}

// meshAddress is a service on a node.
type meshAddress struct {
	Node    string `json:"node"`
	Service string `json:"service"`
}

func (m meshAddress) String() string { return m.Node + ":" + m.Service }

// write prints it for people.
func (e *explanation) write(w io.Writer) error {
	var b bytes.Buffer
	row := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%s %s\n", pad(what, 9), printable(fmt.Sprintf(format, args...)))
	}
	verdict := "open"
	if !e.OK {
		verdict = "in the way"
	}
	fmt.Fprintf(&b, "%s\n", printable(fmt.Sprintf("%s to %s: %s: %s", e.Node, e.To, verdict, e.Reason)))
	e.writeRoute(row)
	for i, f := range e.Firewall {
		rule := "no rule"
		if f.Number > 0 {
			rule = fmt.Sprintf("rule %d: %s", f.Number, f.Rule)
		}
		row([]string{"Firewall", ""}[min(i, 1)], "%s to %s: %s (%s)", f.From, f.To, f.Action, rule)
	}
	e.writeService(row)
	for _, s := range e.Streams {
		row("Streams", "%d open on %d connections, authentication %s%s", s.Streams, s.Connections, s.Authentication, by(s.TLS))
	}
	switch d := e.LastDial; {
	case d == nil:
		row("Last dial", "none that is remembered")
	case d.Error == "":
		row("Last dial", "%s%s: success, in %s", d.Time.Local().Format(time.DateTime), by(d.TLS), d.Took)
	default:
		row("Last dial", "%s%s: %s, after %s", d.Time.Local().Format(time.DateTime), by(d.TLS), d.Error, d.Took)
	}
	_, err := b.WriteTo(w)
	return err
}

// by says which TLS profile was used, if one was.
func by(profile string) string {
	if profile == "" {
		return ""
	}
	return " by " + profile
}

func (e *explanation) writeRoute(row func(string, string, ...any)) {
	switch {
	case e.Node == e.To.Node:
		row("Route", "none is needed: it is the node itself")
		return
	case e.Route == nil:
		row("Route", "none")
		return
	}
	way := []string{e.Node}
	for _, hop := range e.Route.Path {
		way = append(way, fmt.Sprintf("%s (%s)", hop.Node, hop.Cost))
	}
	row("Route", "%s, cost %s", strings.Join(way, " - "), e.Route.Cost)
	l := e.Route.Link
	if l == nil {
		return
	}
	state := l.State
	if l.Legacy {
		state += ", legacy"
	}
	row("Link", "to %s: %s since %s, item %s, remote %s, authentication %s%s, %d frames dropped", l.Peer, state,
		l.Since.Local().Format(time.DateTime), orDash(l.Item), orDash(l.Remote), orDash(l.Authentication), by(l.TLS), l.FramesDropped)
}

func (e *explanation) writeService(row func(string, string, ...any)) {
	s := e.Service
	switch {
	case s.Advertised:
		row("Service", "%s, %s, advertised %s, tags %s", s.Type, map[bool]string{true: "needs a TLS profile", false: "needs no TLS profile"}[s.Type == "stream-tls"],
			s.Time.Local().Format(time.DateTime), tagText(s.Tags))
	case s.Bound:
		row("Service", "bound on this node, not advertised")
	case e.Node == e.To.Node:
		row("Service", "not bound on this node")
	default:
		row("Service", "not advertised; it may be there all the same")
	}
}
