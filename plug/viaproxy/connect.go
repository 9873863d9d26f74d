package viaproxy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// maxAnswer bounds the head of the answer to CONNECT; honest ones have some
// hundred bytes.
const maxAnswer = 16 << 10

// connect asks an HTTP proxy for a tunnel.
func connect(c io.ReadWriter, proxy *url.URL, address string) error {
	if strings.ContainsAny(address, "\r\n ") {
		return fmt.Errorf("%q is no address", address)
	}
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if proxy.User != nil {
		user, password := credentials(proxy)
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return fmt.Errorf("ask for a tunnel: %w", err)
	}
	head, err := readHead(c)
	if err != nil {
		return fmt.Errorf("read the answer to CONNECT: %w", err)
	}
	status, _, _ := strings.Cut(head, "\r\n")
	version, code, _ := strings.Cut(status, " ")
	if !strings.HasPrefix(version, "HTTP/1.") || !strings.HasPrefix(code, "2") {
		return fmt.Errorf("CONNECT %s was answered %.128q", address, status)
	}
	return nil
}

// readHead reads the head of an HTTP message, and not a byte more: what follows
// is the target's. So it reads byte by byte, once a connection.
func readHead(r io.Reader) (string, error) {
	end := []byte("\r\n\r\n")
	head := make([]byte, 0, 512)
	for !bytes.HasSuffix(head, end) {
		if len(head) == maxAnswer {
			return "", fmt.Errorf("its head has more than %d bytes", maxAnswer)
		}
		head = append(head, 0)
		if _, err := io.ReadFull(r, head[len(head)-1:]); err != nil {
			return "", err
		}
	}
	return string(head), nil
}
