package certs

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// usages are those of all certificates, of authorities too: each node is client
// and server.
var usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}

// oidNames is the extension with the names that a certificate is for.
var oidNames = []int{2, 5, 29, 17}

func parseInit(p *params) func(Env) error {
	name, bits, valid := p.text("commonname"), p.bits(), p.validity(10)
	outCert, outKey := p.text("outcert"), p.text("outkey")
	p.differ("outcert", "outkey")
	return func(e Env) error {
		from, until, err := valid.span(e.Now)
		if err != nil {
			return err
		}
		key, err := newKey(bits)
		if err != nil {
			return err
		}
		template := x509.Certificate{
			SerialNumber:          big.NewInt(e.Now.Unix()),
			Subject:               pkix.Name{CommonName: name},
			NotBefore:             from,
			NotAfter:              until,
			IsCA:                  true,
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage:           usages,
		}
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
		if err != nil {
			return fmt.Errorf("make the certificate: %w", err)
		}
		return write(file{outKey, pemKey, x509.MarshalPKCS1PrivateKey(key)}, file{outCert, pemCertificate, der})
	}
}

func parseMakeReq(p *params) func(Env) error {
	name, bits, inKey, outKey, out := p.text("commonname"), p.bits(), p.text("inkey"), p.text("outkey"), p.text("outreq")
	switch {
	case inKey != "" && outKey != "":
		p.errorf("expected inkey or outkey, got both")
	case inKey == "" && outKey == "":
		p.errorf("expected inkey or outkey, got neither")
	case inKey != "" && bits != 0:
		p.errorf("parameter bits: does not go with inkey, whose key has its size")
	case outKey != "" && p.values["bits"] == nil:
		p.errorf("parameter bits is required with outkey")
	}
	p.differ("outreq", "outkey")
	p.differ("inkey", "outreq")
	request := x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	dns, addresses, nodes := p.list("dnsname"), p.addresses(), p.list("nodeid")
	if len(dns)+len(addresses)+len(nodes) > 0 && len(p.errs) == 0 {
		names, err := mtls.SubjectAltNames(dns, addresses, nodes)
		if err != nil {
			p.errorf("%v", err)
		}
		request.ExtraExtensions = []pkix.Extension{names}
	}
	return func(Env) error {
		var key crypto.Signer
		var files []file
		if inKey != "" {
			k, err := readKey(inKey)
			if err != nil {
				return err
			}
			key = k
		} else {
			k, err := newKey(bits)
			if err != nil {
				return err
			}
			key = k
			files = append(files, file{outKey, pemKey, x509.MarshalPKCS1PrivateKey(k)})
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &request, key)
		if err != nil {
			return fmt.Errorf("make the request: %w", err)
		}
		return write(append(files, file{out, pemRequest, der})...)
	}
}

func parseSignReq(p *params) func(Env) error {
	reqFile, caFile, keyFile, out := p.text("req"), p.text("cacert"), p.text("cakey"), p.text("outcert")
	verified, _ := p.values["verify"].(bool)
	valid := p.validity(1)
	for _, in := range []string{"req", "cacert", "cakey"} {
		p.differ(in, "outcert")
	}
	return func(e Env) error {
		from, until, err := valid.span(e.Now)
		if err != nil {
			return err
		}
		req, err := readRequest(reqFile)
		if err != nil {
			return err
		}
		ca, err := readAuthority(caFile)
		if err != nil {
			return err
		}
		key, err := readKey(keyFile)
		if err != nil {
			return err
		}
		if public, ok := ca.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
			return fmt.Errorf("the key in %s is not that of the certificate in %s", keyFile, caFile)
		}
		names, err := namesOf(req)
		if err != nil {
			return fmt.Errorf("%s: %w", reqFile, err)
		}
		if !verified {
			if err := ask(e, req, names.summary); err != nil {
				return err
			}
		}
		template := x509.Certificate{
			SerialNumber:    big.NewInt(e.Now.Unix()),
			Subject:         req.Subject,
			NotBefore:       from,
			NotAfter:        until,
			KeyUsage:        x509.KeyUsageDigitalSignature,
			ExtKeyUsage:     usages,
			ExtraExtensions: []pkix.Extension{names.extension},
		}
		der, err := x509.CreateCertificate(rand.Reader, &template, ca, req.PublicKey, key)
		if err != nil {
			return fmt.Errorf("make the certificate: %w", err)
		}
		return write(file{out, pemCertificate, der})
	}
}

func newKey(bits int) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("make a key of %d bits: %w", bits, err)
	}
	return key, nil
}

// names are those that a request asks a certificate for: the extension goes into
// the certificate as it is.
type names struct {
	extension pkix.Extension
	summary   []string // for people, a line each
}

func namesOf(req *x509.CertificateRequest) (names, error) {
	var n names
	for _, e := range req.Extensions {
		if slices.Equal(e.Id, oidNames) {
			n.extension = e
		}
	}
	nodes, err := mtls.NamesIn(req.Extensions)
	if err != nil {
		return n, err
	}
	add := func(what string, all []string) {
		for _, name := range all {
			n.summary = append(n.summary, fmt.Sprintf("%s %q", what, name))
		}
	}
	add("DNS name", req.DNSNames)
	add("IP address", texts(req.IPAddresses))
	add("node ID", nodes)
	add("e-mail address", req.EmailAddresses)
	for _, u := range req.URIs {
		add("URI", []string{u.String()})
	}
	if len(n.summary) == 0 {
		return n, errors.New("the request has no names, so that nobody would know a certificate made of it")
	}
	return n, nil
}

func texts(addresses []net.IP) []string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.String())
	}
	return all
}

// maxAnswer bounds what is read of an answer: it is one word.
const maxAnswer = 1 << 10

// ask shows a request and waits for the word of somebody who knows.
func ask(e Env, req *x509.CertificateRequest, names []string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Requested certificate:\n  subject %q\n", req.Subject.String())
	for _, n := range names {
		fmt.Fprintf(&b, "  %s\n", n)
	}
	answers := bufio.NewReader(io.LimitReader(e.Stdin, maxAnswer))
	for {
		if _, err := io.WriteString(e.Stdout, b.String()+"Sign certificate (yes/no)? "); err != nil {
			return fmt.Errorf("ask: %w", err)
		}
		b.Reset()
		line, err := answers.ReadString('\n')
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		case "n", "no":
			return errors.New("not signed: the answer was no")
		}
		if err != nil {
			return errors.New("not signed: expected the answer yes or no on standard input (or verify=true)")
		}
	}
}
