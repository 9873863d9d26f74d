package control

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

type explainCommand struct{ mesh Mesh }

// explanation is netceptor.Explanation in the names of our own form.
type explanation struct {
	Node     string        `json:"node"`
	To       ownAddr       `json:"to"`
	OK       bool          `json:"ok"`
	Reason   string        `json:"reason"`
	Route    *ownRoute     `json:"route,omitempty"`
	Firewall [2]ownVerdict `json:"firewall"` // there and back
	Service  ownService    `json:"service"`
	Streams  []ownStreams  `json:"streams,omitempty"`
	LastDial *ownDial      `json:"last_dial,omitempty"`
}

type ownStreams struct {
	Streams        int    `json:"streams"`
	Connections    int    `json:"connections"`
	Authentication string `json:"authentication"`
	TLS            string `json:"tls,omitempty"`
}

type ownAddr struct {
	Node    string `json:"node"`
	Service string `json:"service"`
}

type ownRoute struct {
	Path []ownConnection       `json:"path"`
	Cost float64               `json:"cost"`
	Link *netceptor.LinkStatus `json:"link,omitempty"`
}

type ownVerdict struct {
	From   ownAddr `json:"from"`
	To     ownAddr `json:"to"`
	Action string  `json:"action"`
	Number int     `json:"number,omitempty"`
	Rule   string  `json:"rule,omitempty"`
}

type ownService struct {
	Bound      bool              `json:"bound,omitempty"`
	Advertised bool              `json:"advertised"`
	Type       string            `json:"type,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Time       *time.Time        `json:"time,omitempty"`
}

type ownDial struct {
	Time   time.Time `json:"time"`
	TookNS int64     `json:"took_ns"`
	Took   string    `json:"took"`
	TLS    string    `json:"tls,omitempty"`
	Error  string    `json:"error,omitempty"`
}

func explanationOf(e netceptor.Explanation) explanation {
	own := explanation{
		Node: e.Node, To: ownAddr(e.To), OK: e.OK, Reason: e.Reason,
		Firewall: [2]ownVerdict{verdictOf(e.There), verdictOf(e.Back)},
		Service:  ownService{Bound: e.Bound},
	}
	if len(e.Path) > 0 {
		own.Route = &ownRoute{Link: e.Link}
		for _, hop := range e.Path {
			own.Route.Path = append(own.Route.Path, ownConnection(hop))
			own.Route.Cost += hop.Cost
		}
	}
	if ad := e.Advertisement; ad != nil {
		own.Service.Advertised, own.Service.Type, own.Service.Tags, own.Service.Time = true, connType(ad.ConnType), ad.Tags, &ad.Time
	}
	for _, s := range e.Streams {
		own.Streams = append(own.Streams, ownStreams{s.Streams, s.Connections, s.Authentication, s.TLS})
	}
	if d := e.LastDial; d != nil {
		own.LastDial = &ownDial{Time: d.Time, TookNS: int64(d.Took), Took: d.Took.String(), TLS: d.TLS, Error: d.Err}
	}
	return own
}

func verdictOf(v netceptor.FlowVerdict) ownVerdict {
	return ownVerdict{From: ownAddr(v.From), To: ownAddr(v.To), Action: v.Action, Number: v.Number, Rule: v.Rule}
}

// plain answers the legacy forms, whose nodes do not know the command, with the
// same object.
func (c explainCommand) plain(_ context.Context, _ Session, args *string, params map[string]json.RawMessage) (any, error) {
	var node, service string
	if args != nil {
		words := strings.Split(*args, " ")
		if len(words) != 2 {
			return nil, errors.New("explain takes a node and a service")
		}
		node, service = words[0], words[1]
	} else {
		var ok1, ok2 bool
		node, ok1 = jsonString(params["node"])
		service, ok2 = jsonString(params["service"])
		if !ok1 || !ok2 {
			return nil, errors.New("explain node and service must be strings")
		}
	}
	if node == "" || service == "" {
		return nil, errors.New("explain takes a node and a service")
	}
	return explanationOf(c.mesh.Explain(node, service)), nil
}

func (c explainCommand) own(_ context.Context, _ Session, args json.RawMessage, _ func(any) error) (any, error) {
	var a ownAddr
	if err := decodeArgs(args, &a); err != nil {
		return nil, err
	}
	if err := needService(a.Node, a.Service); err != nil {
		return nil, err
	}
	return explanationOf(c.mesh.Explain(a.Node, a.Service)), nil
}
