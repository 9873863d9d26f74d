// Package viaproxy connects through a proxy: by CONNECT of HTTP, or SOCKS5.
//
// Of the proxy's answer exactly its bytes are read. So the connection that it
// returns is one from which nothing of the target's was read, a TCP socket as
// any other: it can be handed over.
package viaproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// Timeout bounds an attempt to connect, with what the proxy takes of it.
const Timeout = 15 * time.Second

// The schemes of proxies, and their ports if the URL names none.
var ports = map[string]string{"http": "80", "socks5": "1080", "socks5h": "1080"}

// Parse reads the URL of a proxy, http://user:password@host:port or socks5://...;
// of an empty text there is none, which is no error. Names of targets are looked
// up by the proxy.
func Parse(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no proxy
	}
	u, err := url.Parse(text)
	if err != nil { // which names the text, and that may hold a password
		return nil, errors.New("expected a URL such as http://host:port or socks5://host:port")
	}
	return u, Check(u)
}

// Check tells whether u is the URL of a proxy.
func Check(u *url.URL) error {
	switch {
	case ports[u.Scheme] == "":
		return fmt.Errorf("expected a proxy of scheme http or socks5, got %s", u.Redacted())
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("expected a proxy as %s://host:port, got %s", u.Scheme, u.Redacted())
	}
	user, password := credentials(u)
	if len(user) > 255 || len(password) > 255 {
		return errors.New("name and password for a proxy have at most 255 bytes each")
	}
	return nil
}

func credentials(u *url.URL) (user, password string) {
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// Dial connects to address, host:port, through proxy; nil: without one. IPv4 and
// IPv6 are tried in parallel. Sockets of Multipath TCP, which cannot be handed
// over, are not made.
func Dial(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var d net.Dialer
	d.SetMultipathTCP(false)
	if proxy == nil {
		return d.DialContext(ctx, "tcp", address)
	}
	if err := Check(proxy); err != nil {
		return nil, err
	}
	port := proxy.Port()
	if port == "" {
		port = ports[proxy.Scheme]
	}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err == nil {
		err = open(ctx, c, proxy, address)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	}
	return c, nil
}

// open has the proxy connect c to address; with an error it closes c.
func open(ctx context.Context, c net.Conn, proxy *url.URL, address string) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	ask := connect
	if proxy.Scheme != "http" {
		ask = socks
	}
	err := ask(c, proxy, address)
	if !stop() { // the deadline may come at any time now
		err = context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

func splitAddress(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %s: expected a port from 0 to 65535", address)
	}
	return host, uint16(n), nil
}
