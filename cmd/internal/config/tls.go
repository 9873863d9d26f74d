package config

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug/schema"
)

// server takes over a tls-server item.
func (s *splitter) server(item Item, v schema.Values) {
	p := mtls.ServerProfile{
		Name: text(v, "name"), Cert: s.file(item, v, "cert"), Key: s.file(item, v, "key"),
		ClientCAs: s.file(item, v, "clientcas"),
	}
	p.RequireClientCert, _ = v["requireclientcert"].(bool)
	p.PinnedClientCert, _ = v["pinnedclientcert"].([]string)
	p.SkipReceptorNamesCheck, _ = v[paramSkipNames].(bool)
	p.MinTLS13, _ = v["mintls13"].(bool)
	if s.profile(item, kindServer+" name="+p.Name, p.Validate()) {
		s.core.Servers = append(s.core.Servers, p)
		s.servers = append(s.servers, item)
	}
}

// client takes over a tls-client item.
func (s *splitter) client(item Item, v schema.Values) {
	p := mtls.ClientProfile{
		Name: text(v, "name"), Cert: s.file(item, v, "cert"), Key: s.file(item, v, "key"),
		RootCAs: s.file(item, v, "rootcas"),
	}
	p.InsecureSkipVerify, _ = v["insecureskipverify"].(bool)
	p.PinnedServerCert, _ = v["pinnedservercert"].([]string)
	p.SkipReceptorNamesCheck, _ = v[paramSkipNames].(bool)
	p.MinTLS13, _ = v["mintls13"].(bool)
	if s.profile(item, kindClient+" name="+p.Name, p.Validate()) {
		s.core.Clients = append(s.core.Clients, p)
		s.clients = append(s.clients, item)
	}
}

// profile notes a TLS profile, and tells whether it makes sense as it is written.
func (s *splitter) profile(item Item, id string, wrong error) bool {
	first := s.first(id, item)
	if wrong != nil {
		s.errorf(item, "%v", wrong)
	}
	return first && wrong == nil
}

// file is a path that may be empty.
func (s *splitter) file(item Item, v schema.Values, name string) string {
	path := text(v, name)
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return s.absolute(item, path)
}

func text(v schema.Values, name string) string {
	t, _ := v[name].(string)
	return t
}

// checkTLS looks at the files of the TLS profiles, and for those that control
// services name.
func (s *splitter) checkTLS() {
	if s.badNode {
		return // whose names would they have to have?
	}
	for i, p := range s.core.Servers {
		if _, err := mtls.LoadServer(p, s.core.NodeID, nil); err != nil {
			s.errorf(s.servers[i], "%v", err)
		}
	}
	for i, p := range s.core.Clients {
		if _, err := mtls.LoadClient(p, s.core.NodeID, nil); err != nil {
			s.errorf(s.clients[i], "%v", err)
		}
	}
	for _, c := range s.core.Control {
		s.needServer(c.Label, "tls", c.TLS)
		s.needServer(c.Label, "tcptls", c.TCPTLS)
	}
}

// needServer demands that a tls-server that an item names is there, right or wrong.
func (s *splitter) needServer(label, param, name string) {
	if _, there := s.seen[kindServer+" name="+name]; name != "" && !there {
		s.errorf(Item{Label: label}, "parameter %s: there is no tls-server named %s", param, name)
	}
}

// LoadTLS reads the files of the TLS profiles. log gets what happens to them later.
func (c *Core) LoadTLS(log hclog.Logger) (*mtls.Set, error) {
	var servers []*mtls.Server
	for _, p := range c.Servers {
		l, err := mtls.LoadServer(p, c.NodeID, log)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kindServer, p.Name, err)
		}
		servers = append(servers, l)
	}
	var clients []*mtls.Client
	for _, p := range c.Clients {
		l, err := mtls.LoadClient(p, c.NodeID, log)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kindClient, p.Name, err)
		}
		clients = append(clients, l)
	}
	return mtls.NewSet(servers, clients), nil
}
