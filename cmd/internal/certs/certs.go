// Package certs makes the certificates of a mesh: an authority (cert-init), a
// request that names hosts and nodes (cert-makereq), and the certificate that the
// authority makes of it (cert-signreq). They are actions of the program receptor:
// done, they leave files and no process.
//
// Keys are RSA, as existing nodes know them. All files have mode 0600, and one
// that was there is replaced as a whole or not at all.
package certs

import (
	"fmt"
	"io"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items that are actions.
const (
	kindInit    = "cert-init"
	kindMakeReq = "cert-makereq"
	kindSignReq = "cert-signreq"
)

// Kinds describes the actions, in the order in which they are needed.
func Kinds() []wire.Kind {
	required := func(name, typ, help string) wire.Param {
		return wire.Param{Name: name, Type: typ, Required: true, Help: help}
	}
	from := wire.Param{Name: "notbefore", Type: schema.TypeString, Help: "from when it is valid, as 2026-01-31T12:00:00Z (default: now)"}
	until := func(years string) wire.Param {
		return wire.Param{Name: "notafter", Type: schema.TypeString, Help: "until when it is valid (default: " + years + " from now)"}
	}
	return []wire.Kind{
		{
			Kind: kindInit,
			Help: "make a certificate authority, and exit",
			Params: []wire.Param{
				required("commonname", schema.TypeString, "its name"),
				required("bits", schema.TypeInt, "size of its RSA key, 2048 or more"),
				from, until("10 years"),
				required("outcert", schema.TypePath, "file for the certificate"),
				required("outkey", schema.TypePath, "file for the key"),
			},
		},
		{
			Kind: kindMakeReq,
			Help: "make a request for a certificate, and exit",
			Params: []wire.Param{
				required("commonname", schema.TypeString, "name of whom it is for"),
				{Name: "bits", Type: schema.TypeInt, Help: "size of the new RSA key, 2048 or more; with outkey"},
				{Name: "dnsname", Type: schema.TypeList, Help: "DNS names that it is for"},
				{Name: "ipaddress", Type: schema.TypeList, Help: "IP addresses that it is for"},
				{Name: "nodeid", Type: schema.TypeList, Help: "node IDs that it is for"},
				required("outreq", schema.TypePath, "file for the request"),
				{Name: "inkey", Type: schema.TypePath, Help: "file with the key to use"},
				{Name: "outkey", Type: schema.TypePath, Help: "file for a new key; one of the two"},
			},
		},
		{
			Kind: kindSignReq,
			Help: "make a certificate of a request, and exit",
			Params: []wire.Param{
				required("req", schema.TypePath, "file with the request"),
				required("cacert", schema.TypePath, "file with the authority's certificate"),
				required("cakey", schema.TypePath, "file with the authority's key"),
				from, until("1 year"),
				required("outcert", schema.TypePath, "file for the certificate"),
				{Name: "verify", Type: schema.TypeBool, Default: false, Help: "the names are known to be right: do not ask"},
			},
		},
	}
}

// Any tells whether there is an action among items.
func Any(items []config.Item) bool {
	for _, i := range items {
		if kind(i) != nil {
			return true
		}
	}
	return false
}

func kind(i config.Item) *wire.Kind { return schema.Find(Kinds(), i.Kind) }

// Action is one action, checked.
type Action struct {
	label string
	run   func(Env) error
}

// Env is the world around an action.
type Env struct {
	Stdin  io.Reader // answers
	Stdout io.Writer // questions
	Now    time.Time
}

// Run does it. The error names the item.
func (a Action) Run(e Env) error {
	if err := a.run(e); err != nil {
		return fmt.Errorf("%s: %w", a.label, err)
	}
	return nil
}

// Parse checks items, all of which must be actions. The error is a config.Errors.
func Parse(items []config.Item) ([]Action, error) {
	var actions []Action
	var errs config.Errors
	for _, item := range items {
		k := kind(item)
		if k == nil {
			errs = append(errs, fmt.Errorf("%s: certificates are made by a command of their own, without other items", item.Label))
			continue
		}
		v, mistakes := schema.Check(k, item.Kind, item.Label, item.Params)
		if len(mistakes) > 0 {
			errs = append(errs, mistakes...)
			continue
		}
		p := params{values: v, item: item}
		var run func(Env) error
		switch k.Kind {
		case kindInit:
			run = parseInit(&p)
		case kindMakeReq:
			run = parseMakeReq(&p)
		case kindSignReq:
			run = parseSignReq(&p)
		}
		actions = append(actions, Action{item.Label, run})
		errs = append(errs, p.errs...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return actions, nil
}
