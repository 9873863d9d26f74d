package backendws

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/viaproxy"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items of this plug. Cost, nodecost and allowedpeers are the
// core's: it adds them to every kind of link, and reads them itself. Of tls it
// tells what the profile says.
const (
	kindListener = "ws-listener"
	kindPeer     = "ws-peer"
)

func kinds() []wire.Kind {
	return []wire.Kind{
		{
			Kind: kindListener,
			Role: wire.RoleLink,
			Dir:  "in",
			Help: "accept links from other nodes over WebSocket",
			Params: []wire.Param{
				{Name: "port", Type: schema.TypePort, Key: true, Required: true, Bare: true, Help: "TCP port to listen on; 0 takes a free one"},
				{Name: "bindaddr", Type: schema.TypeString, Key: true, Default: "0.0.0.0", Help: "address or host name to listen on"},
				{Name: "path", Type: schema.TypeString, Default: "/", Help: "path of the URL; one that ends in / stands for all below it"},
				{Name: "tls", Type: schema.TypeString, PlugTLS: wire.TLSServer, Help: "tls-server whose TLS the links have: then it is wss (default: none)"},
			},
		},
		{
			Kind: kindPeer,
			Role: wire.RoleLink,
			Dir:  "out",
			Help: "make a link to a node that listens on WebSocket",
			Params: []wire.Param{
				{Name: "address", Type: schema.TypeString, Key: true, Required: true, Bare: true, Help: "ws:// or wss:// URL to connect to"},
				{Name: "redial", Type: schema.TypeBool, Default: true, Help: "connect again whenever the link ends"},
				{Name: "extraheader", Type: schema.TypeString, Help: "a header of the request, name:value"},
				{Name: "proxy", Type: schema.TypeString, Help: "http:// or socks5:// URL of a proxy, or none (default: what the environment says)"},
				{Name: "tls", Type: schema.TypeString, PlugTLS: wire.TLSClient, Help: "tls-client whose TLS the link has (default for wss: any server that the system trusts)"},
			},
		},
	}
}

// listenerParams are the parameters of a ws-listener.
type listenerParams struct {
	Port     int                 `json:"port"`
	BindAddr string              `json:"bindaddr"`
	Path     string              `json:"path"`
	TLS      *mtls.ServerProfile `json:"tls"`
}

func decodeListener(it *plug.Item) (p listenerParams, err error) {
	if err := it.Decode(&p); err != nil {
		return p, err
	}
	if !strings.HasPrefix(p.Path, "/") || strings.ContainsAny(p.Path, "?#") {
		return p, fmt.Errorf("parameter path: expected a path that begins with /, got %q", p.Path)
	}
	return p, nil
}

// peerParams are the parameters of a ws-peer.
type peerParams struct {
	Address     string              `json:"address"`
	Redial      bool                `json:"redial"`
	ExtraHeader string              `json:"extraheader"`
	Proxy       string              `json:"proxy"`
	TLS         *mtls.ClientProfile `json:"tls"`

	url    *url.URL
	header http.Header // of the request
	proxy  *url.URL    // nil: none
}

// noProxy as a proxy leaves the environment out.
const noProxy = "none"

func decodePeer(it *plug.Item) (p peerParams, err error) {
	if err := it.Decode(&p); err != nil {
		return p, err
	}
	if p.url, err = parseURL(p.Address); err != nil {
		return p, fmt.Errorf("parameter address: %w", err)
	}
	if p.TLS != nil && p.url.Scheme != "wss" {
		return p, fmt.Errorf("parameter tls: the address has to begin with wss://, as there is no TLS else: %s", p.Address)
	}
	if p.header, err = requestHeader(p.url, p.ExtraHeader); err != nil {
		return p, fmt.Errorf("parameter extraheader: %w", err)
	}
	switch p.Proxy {
	case noProxy:
	case "":
		p.proxy, err = environmentProxy(p.url)
	default:
		p.proxy, err = viaproxy.Parse(p.Proxy)
	}
	if err != nil {
		return p, fmt.Errorf("parameter proxy: %w", err)
	}
	return p, nil
}

func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "":
		return nil, fmt.Errorf("expected ws://host:port/path or wss://host:port/path, got %q", u.Redacted())
	case u.User != nil:
		return nil, errors.New("a WebSocket URL has no user: use extraheader")
	case u.Fragment != "":
		return nil, errors.New("a WebSocket URL has no #fragment")
	}
	return u, nil
}

// requestHeader is what a request has that WebSocket does not ask for: an Origin
// as existing nodes send it, which some listeners want to be their own, and the
// header that the user has named.
func requestHeader(u *url.URL, extra string) (http.Header, error) {
	h := http.Header{"Origin": {httpURL(u).Scheme + "://" + u.Host}}
	if extra == "" {
		return h, nil
	}
	name, value, ok := strings.Cut(extra, ":")
	name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
		return nil, errors.New("expected name:value") // the value may be a secret
	}
	if name == "Connection" || name == "Upgrade" || strings.HasPrefix(name, "Sec-Websocket-") {
		return nil, fmt.Errorf("%s is WebSocket's own", name)
	}
	h[name] = []string{value}
	return h, nil
}

// httpURL is the URL that the request is made for, to HTTP.
func httpURL(u *url.URL) *url.URL {
	h := *u
	h.Scheme = "http" + strings.TrimPrefix(u.Scheme, "ws")
	return &h
}

// environmentProxy is the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY say.
func environmentProxy(u *url.URL) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: httpURL(u)})
	if proxy == nil || err != nil {
		return nil, err
	}
	return proxy, viaproxy.Check(proxy)
}
