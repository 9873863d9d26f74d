package viaproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
)

// SOCKS5, RFC 1928, with names and passwords of RFC 1929.
const (
	socksVersion  = 5
	socksConnect  = 1
	authNone      = 0
	authPassword  = 2
	authVersion   = 1
	addressIPv4   = 1
	addressDomain = 3
	addressIPv6   = 4
)

// socksErrors are what a proxy's answer means.
var socksErrors = map[byte]string{
	1: "it has failed", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
	5: "connection refused", 6: "time to live expired", 7: "it cannot connect", 8: "it does not take such addresses",
}

// socks asks a SOCKS5 proxy to connect. Its answers are of lengths that are known,
// so that nothing beyond them is read.
func socks(c io.ReadWriter, proxy *url.URL, address string) error {
	request, err := appendRequest(nil, address)
	if err != nil {
		return err
	}
	if err := authenticate(c, proxy); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("ask for a connection: %w", err)
	}
	return readReply(c)
}

// authenticate agrees on who we are.
func authenticate(c io.ReadWriter, proxy *url.URL) error {
	methods := []byte{socksVersion, 1, authNone}
	if proxy.User != nil {
		methods = []byte{socksVersion, 2, authNone, authPassword}
	}
	if _, err := c.Write(methods); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	var chosen [2]byte
	if _, err := io.ReadFull(c, chosen[:]); err != nil {
		return fmt.Errorf("read the answer to the greeting: %w", err)
	}
	switch {
	case chosen[0] != socksVersion:
		return fmt.Errorf("it does not speak SOCKS5: it has answered with %d", chosen[0])
	case chosen[1] == authNone:
		return nil
	case chosen[1] != authPassword || proxy.User == nil:
		return errors.New("it wants another way to prove who we are")
	}
	user, password := credentials(proxy)
	b := append([]byte{authVersion, byte(len(user))}, user...)
	b = append(append(b, byte(len(password))), password...)
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("send name and password: %w", err)
	}
	var answer [2]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return fmt.Errorf("read the answer to name and password: %w", err)
	}
	if answer[1] != 0 {
		return errors.New("it does not take the name and password")
	}
	return nil
}

// appendRequest appends a request to connect.
func appendRequest(b []byte, address string) ([]byte, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	b = append(b, socksVersion, socksConnect, 0)
	switch ip, err := netip.ParseAddr(host); {
	case err != nil && (host == "" || len(host) > 255):
		return nil, fmt.Errorf("a host name has 1 to 255 bytes: %q", host)
	case err != nil:
		b = append(append(b, addressDomain, byte(len(host))), host...)
	case ip.Unmap().Is4():
		b = append(append(b, addressIPv4), ip.Unmap().AsSlice()...)
	default:
		b = append(append(b, addressIPv6), ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, port), nil
}

// readReply reads the answer to a request, and the address in it.
func readReply(r io.Reader) error {
	var head [5]byte // with the first byte of the address
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return fmt.Errorf("read the answer to the request: %w", err)
	}
	if head[0] != socksVersion {
		return fmt.Errorf("it has answered with %d", head[0])
	}
	if code := head[1]; code != 0 { // what else it says is of no use
		text := socksErrors[code]
		if text == "" {
			text = fmt.Sprintf("error %d", code)
		}
		return errors.New(text)
	}
	if _, err := io.ReadFull(r, head[2:]); err != nil {
		return fmt.Errorf("read the answer to the request: %w", err)
	}
	var rest int // of address and port
	switch head[3] {
	case addressIPv4:
		rest = 4 - 1 + 2
	case addressIPv6:
		rest = 16 - 1 + 2
	case addressDomain:
		rest = int(head[4]) + 2
	default:
		return fmt.Errorf("it has answered with an address of type %d", head[3])
	}
	if _, err := io.ReadFull(r, make([]byte, rest)); err != nil {
		return fmt.Errorf("read the answer to the request: %w", err)
	}
	return nil
}
