package config

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/workceptor"
)

// Core is what the core's own items say, with defaults filled in.
type Core struct {
	NodeID   string
	DataDir  string        // absolute; state of the node is in a directory of its own there
	MaxIdle  time.Duration // of links; 0: the default
	Firewall []netceptor.FirewallRule
	NeedTLS  bool // links without TLS are refused
	Servers  []mtls.ServerProfile
	Clients  []mtls.ClientProfile
	LogLevel hclog.Level
	Control  []ControlService
	Plugs    PlugsPolicy
	Retain   workceptor.Retention
	Version  bool // print the version and exit

	SigningKey   *rsa.PrivateKey // nil: none
	TokenLife    time.Duration
	VerifyingKey *rsa.PublicKey // nil: none
	Unsigned     workceptor.Unsigned
}

// ControlService is one control-service item.
type ControlService struct {
	Service  string
	Filename string // of a Unix socket, empty for none
	Mode     os.FileMode
	TLS      string // name of the tls-server on the mesh, empty for none
	TCP      string // host:port to listen on, empty for none
	TCPTLS   string // name of its tls-server; empty: no TLS
	Label    string
}

// PlugsPolicy is the plugs-policy item.
type PlugsPolicy struct {
	Socket       string // empty: the default
	Group        int    // -1: unchanged
	ControlGroup int    // of the control socket, likewise
	Mode         os.FileMode
	Policy       plughost.Policy
}

// Split checks the core's own items and returns what they say, with the items
// of all other kinds in their order. The error is an [Errors].
func Split(items []Item) (Core, []Item, error) {
	s := splitter{
		core:  Core{LogLevel: hclog.Info, Plugs: PlugsPolicy{Group: -1, ControlGroup: -1, Mode: 0o660}},
		kinds: Kinds(),
		seen:  map[string]Item{},
	}
	var rest []Item
	for _, item := range items {
		if k := schema.Find(s.kinds, item.Kind); k != nil {
			s.own(k, item)
		} else if slices.Contains(actions, item.Kind) {
			s.errorf(item, "%s is an action of the program receptor, and goes with no other items", item.Kind)
		} else if slices.Contains(notBuilt, item.Kind) {
			s.errorf(item, "%s is not part of this version", item.Kind)
		} else {
			rest = append(rest, item)
		}
	}
	s.defaults()
	s.checkTLS()
	return s.core, rest, s.errs.err()
}

// splitter collects what the core's own items say.
type splitter struct {
	core  Core
	kinds []wire.Kind
	seen  map[string]Item // singletons by kind, control services by name
	errs  Errors

	servers, clients []Item // of the TLS profiles in core

	badNode bool // the node item is wrong already: say nothing about what it lacks
}

func (s *splitter) errorf(i Item, format string, a ...any) {
	s.errs = append(s.errs, fmt.Errorf("%s: %s", i.Label, fmt.Sprintf(format, a...)))
}

// own takes over one item of a kind of the core.
func (s *splitter) own(k *wire.Kind, item Item) {
	if slices.Contains(singletons, k.Kind) && !s.first(k.Kind, item) {
		return
	}
	v, errs := schema.Check(k, item.Kind, item.Label, listsAsText(item.Params))
	if len(errs) > 0 {
		s.errs = append(s.errs, errs...)
		s.badNode = s.badNode || k.Kind == kindNode
		return
	}
	switch k.Kind {
	case kindNode:
		s.node(item, v)
	case kindLog:
		s.logLevel(item, v)
	case kindControl:
		s.control(item, v)
	case kindPolicy:
		s.policy(item, v)
	case kindRetain:
		s.retention(item, v)
	case kindServer:
		s.server(item, v)
	case kindClient:
		s.client(item, v)
	case kindSign:
		s.core.SigningKey = key(s, item, v, "privatekey", workceptor.ParseSigningKey)
		if d, err := time.ParseDuration(text(v, "tokenexpiration")); err != nil || d <= 0 {
			s.errorf(item, "parameter tokenexpiration: expected more than 0, got %s", text(v, "tokenexpiration"))
		} else {
			s.core.TokenLife = d
		}
	case kindVerify:
		s.core.VerifyingKey = key(s, item, v, "publickey", workceptor.ParseVerifyingKey)
		switch s.core.Unsigned = workceptor.Unsigned(text(v, "unsigned")); s.core.Unsigned {
		case workceptor.UnsignedStatus, workceptor.UnsignedList, workceptor.UnsignedNone:
		default:
			s.errorf(item, "parameter unsigned: expected status, list or none, got %q", s.core.Unsigned)
		}
	case kindVersion:
		s.core.Version = true
	}
}

// key reads a key from the file that a parameter names.
func key[K any](s *splitter, item Item, v schema.Values, name string, parse func([]byte) (K, error)) (k K) {
	b, err := os.ReadFile(s.file(item, v, name))
	if err == nil {
		k, err = parse(b)
	}
	if err != nil {
		s.errorf(item, "parameter %s: %v", name, err)
	}
	return k
}

// first notes an item of which there may be one, and tells whether it is the first.
func (s *splitter) first(name string, item Item) bool {
	if other, twice := s.seen[name]; twice {
		s.errorf(item, "there can be one %s only, and %s is one already", name, place(other))
		return false
	}
	s.seen[name] = item
	return true
}

// defaults fills in what no item said.
func (s *splitter) defaults() {
	if _, ok := s.seen[kindTrace]; ok {
		s.core.LogLevel = hclog.Trace
	}
	if s.core.NodeID == "" && !s.badNode {
		host, err := os.Hostname()
		switch {
		case err != nil:
			s.errs = append(s.errs, fmt.Errorf("node: parameter id is required, since the host has no name: %w", err))
		case host == "localhost" || strings.HasPrefix(host, "localhost."):
			s.errs = append(s.errs, fmt.Errorf("node: parameter id is required: expected a node ID, and the host name %s is none", host))
		}
		s.core.NodeID = host
	}
	if s.core.DataDir == "" {
		s.core.DataDir = plug.StateRoot() // without one the core warns
	}
}

func (s *splitter) node(item Item, v schema.Values) {
	id, _ := v["id"].(string)
	if strings.EqualFold(id, "localhost") {
		s.errorf(item, "parameter id: expected a node ID, got %q, which every host is", id)
		s.badNode = true
		return
	}
	s.core.NodeID = id
	if dir, _ := v["datadir"].(string); dir != "" {
		s.core.DataDir = s.absolute(item, dir)
	}
	s.core.NeedTLS, _ = v["requiretls"].(bool)
	if d, err := time.ParseDuration(v["maxidleconnectiontimeout"].(string)); err != nil || d < minIdle { //nolint:forcetypeassert // has a default
		s.errorf(item, "parameter maxidleconnectiontimeout: expected at least %v, got %v", minIdle, v["maxidleconnectiontimeout"])
	} else {
		s.core.MaxIdle = d
	}
	s.firewall(item, v)
}

// minIdle is two periods of routing updates and a second: less would close links that work.
const minIdle = 21 * time.Second

// levels are the names of the log levels.
var levels = map[string]hclog.Level{
	"error": hclog.Error, "warning": hclog.Warn, "warn": hclog.Warn, "info": hclog.Info, "debug": hclog.Debug, "trace": hclog.Trace,
}

func (s *splitter) logLevel(item Item, v schema.Values) {
	name, _ := v["level"].(string)
	level, ok := levels[strings.ToLower(name)]
	if !ok {
		s.errorf(item, "parameter level: expected error, warning, info, debug or trace, got %q", name)
		return
	}
	s.core.LogLevel = level
}

func (s *splitter) control(item Item, v schema.Values) {
	c := ControlService{Label: item.Label, Mode: s.mode(item, "permissions", v)}
	c.Service, _ = v["service"].(string)
	c.TLS, _ = v["tls"].(string)
	if c.Filename, _ = v["filename"].(string); c.Filename != "" {
		c.Filename = s.absolute(item, c.Filename)
		if !s.first("control-service filename="+c.Filename, item) {
			return
		}
	}
	c.TCPTLS, _ = v["tcptls"].(string)
	if listen, _ := v["tcplisten"].(string); listen != "" {
		c.TCP = s.tcpListen(item, listen)
		if !s.first("control-service tcplisten="+c.TCP, item) {
			return
		}
	} else if c.TCPTLS != "" {
		s.errorf(item, "parameter tcptls: goes with tcplisten, which is not there")
		c.TCPTLS = "" // that is enough about it
	}
	if s.first("control-service service="+c.Service, item) {
		s.core.Control = append(s.core.Control, c)
	}
}

// tcpListen is the address of a port, or of a host and port.
func (s *splitter) tcpListen(item Item, listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		host, port = "0.0.0.0", listen
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		s.errorf(item, "parameter tcplisten: expected a port from 0 to 65535, or host:port, got %q", listen)
	}
	return net.JoinHostPort(host, port)
}

func (s *splitter) absolute(item Item, path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		s.errorf(item, "make %s absolute: %v", path, err)
	}
	return abs
}

func (s *splitter) mode(item Item, name string, v schema.Values) os.FileMode {
	m, _ := v[name].(int64)
	if m < 0 || m > 0o777 {
		s.errorf(item, "parameter %s: expected a mode from 0 to 0777, got %#o", name, m)
	}
	return os.FileMode(m) & os.ModePerm
}

func (s *splitter) policy(item Item, v schema.Values) {
	p := &s.core.Plugs
	p.Mode = s.mode(item, "mode", v)
	if path, _ := v["socket"].(string); path != "" {
		p.Socket = s.absolute(item, path)
	}
	group := func(param string, gid *int) {
		name, _ := v[param].(string)
		if name == "" {
			return
		}
		var err error
		if *gid, err = groupID(name); err != nil {
			s.errorf(item, "parameter %s: expected a group of this system or its number, got %q", param, name)
		}
	}
	group("group", &p.Group)
	p.ControlGroup = p.Group
	group("controlgroup", &p.ControlGroup)
	if text, _ := v[paramRules].(string); text != "" {
		rules, err := parseRules(text)
		if err != nil {
			s.errorf(item, "parameter rules: expected a list such as [{\"user\": \"jobs\", \"kinds\": [\"tcp-*\"]}]: %v", err)
		}
		p.Policy.Rules = rules
	}
}

func (s *splitter) retention(item Item, v schema.Values) {
	r := &s.core.Retain
	if age, ok := v["age"].(string); ok {
		r.Age, _ = time.ParseDuration(age) // which was checked
		if r.Age < minAge {
			s.errorf(item, "parameter age: expected at least %v, got %v", minAge, age)
		}
	}
	if units, ok := v["units"].(int64); ok {
		r.Count = int(units)
		if units < 1 {
			s.errorf(item, "parameter units: expected a number from 1, got %d", units)
		}
	}
	if text, ok := v["size"].(string); ok {
		if r.Size, ok = parseSize(text); !ok {
			s.errorf(item, "parameter size: expected bytes, or a number with KiB, MiB, GiB or TiB, got %q", text)
		}
	}
	if len(item.Params) == 0 {
		s.errorf(item, "expected age, units or size")
	}
}

// minAge leaves whoever has submitted a unit the time to see its end.
const minAge = time.Minute

// parseSize is a number of bytes above 0, such as 10GiB.
func parseSize(text string) (int64, bool) {
	number, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			number, factor = strings.TrimSpace(n), 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	return n * factor, err == nil && n > 0 && n <= math.MaxInt64/factor
}

func groupID(name string) (int, error) {
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(g.Gid)
}

// listsAsText turns the parameters that are lists of maps in YAML into the JSON
// text that they are on a command line.
func listsAsText(params map[string]any) map[string]any {
	out := make(map[string]any, len(params))
	for name, v := range params {
		isList := strings.EqualFold(name, paramRules) || strings.EqualFold(name, paramFirewall)
		if _, isText := v.(string); isList && !isText && v != nil {
			b, err := json.Marshal(v)
			if err == nil {
				v = string(b)
			}
		}
		out[name] = v
	}
	return out
}

// rule is one rule of the plugs-policy item, as written.
type rule struct {
	User  name                `json:"user"`
	Group name                `json:"group"`
	Name  string              `json:"name"`
	Kinds []string            `json:"kinds"`
	Roles map[string]roleRule `json:"roles"`
}

type roleRule struct {
	Max   int      `json:"max"`
	Dial  []string `json:"dial"`
	Bind  []string `json:"bind"`
	Types []string `json:"types"`
	Names []string `json:"names"`
}

// name is a user or group: a name, or a number with quotes or without.
type name string

// UnmarshalJSON implements json.Unmarshaler.
func (n *name) UnmarshalJSON(b []byte) error {
	var number json.Number
	if err := json.Unmarshal(b, &number); err == nil {
		*n = name(number)
		return nil
	}
	return json.Unmarshal(b, (*string)(n))
}

func parseRules(text string) ([]plughost.Rule, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields() // a misspelt limit would be none
	var raw []rule
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the list")
	}
	rules := make([]plughost.Rule, len(raw))
	for i, r := range raw {
		rules[i] = plughost.Rule{User: string(r.User), Group: string(r.Group), Name: r.Name, Kinds: r.Kinds}
		for role, rr := range r.Roles {
			if !slices.Contains([]string{wire.RoleLink, wire.RoleStream, wire.RolePacket, wire.RoleWorker, wire.RoleObserve}, role) {
				return nil, fmt.Errorf("rule %d: unknown role %q", i+1, role)
			}
			if rr.Max < 0 {
				return nil, fmt.Errorf("rule %d: role %s: max is negative", i+1, role)
			}
			if rules[i].Roles == nil {
				rules[i].Roles = map[string]plughost.RoleRule{}
			}
			rules[i].Roles[role] = plughost.RoleRule(rr)
		}
	}
	return rules, nil
}
