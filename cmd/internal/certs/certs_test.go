package certs

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// now is when all certificates of the tests are made.
var now = time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)

// do does the actions of a command line, with names of files in the directory
// dir after @.
func do(t *testing.T, dir, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "@", dir+"/")
	}
	line, err := config.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	actions, err := Parse(line.Items)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, a := range actions {
		if err := a.Run(Env{Stdin: strings.NewReader(stdin), Stdout: &out, Now: now}); err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

// must is do where nothing is to fail.
func must(t *testing.T, dir string, args ...string) {
	t.Helper()
	if _, err := do(t, dir, "", args...); err != nil {
		t.Fatal(err)
	}
}

// authority makes a CA in dir.
func authority(t *testing.T, dir string) {
	t.Helper()
	must(t, dir, "--cert-init", "commonname=test CA", "bits=1024", "outcert=@ca.pem", "outkey=@ca.key")
}

// block is the only PEM block of a file, which nobody else may read.
func block(t *testing.T, path, typ string) []byte {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", path, info.Mode())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, rest := pem.Decode(b)
	if p == nil || p.Type != typ || len(rest) > 0 {
		t.Fatalf("%s is not one block %s:\n%s", path, typ, b)
	}
	return p.Bytes
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(block(t, path, "CERTIFICATE"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// filesIn is what dir holds.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// The three actions in turn give a certificate that nodes take.
func TestChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority(t, dir)
	long := strings.Repeat("n", 120) // legacy nodes make a broken extension of it
	must(t, dir, "--cert-makereq", "bits=1024", "commonname=leaf", "dnsname=localhost", "dnsname=leaf.example", "ipaddress=127.0.0.1", "ipaddress=::1",
		"nodeid=leaf", "nodeid="+long, "outreq=@leaf.csr", "outkey=@leaf.key")
	must(t, dir, "--cert-signreq", "req=@leaf.csr", "cacert=@ca.pem", "cakey=@ca.key", "outcert=@leaf.pem", "verify=true")

	ca := certificate(t, dir+"/ca.pem")
	if !ca.IsCA || ca.Subject.CommonName != "test CA" || ca.SerialNumber.Cmp(big.NewInt(now.Unix())) != 0 || ca.PublicKey.(*rsa.PublicKey).N.BitLen() != 1024 ||
		ca.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign || !slices.Equal(ca.ExtKeyUsage, usages) ||
		!ca.NotBefore.Equal(now) || !ca.NotAfter.Equal(now.AddDate(10, 0, 0)) {
		t.Errorf("authority %+v", ca)
	}
	leaf := certificate(t, dir+"/leaf.pem")
	if leaf.IsCA || leaf.Subject.String() != "CN=leaf" || leaf.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(leaf.ExtKeyUsage, usages) ||
		leaf.SerialNumber.Cmp(big.NewInt(now.Unix())) != 0 || !leaf.NotBefore.Equal(now) || !leaf.NotAfter.Equal(now.AddDate(1, 0, 0)) ||
		!slices.Equal(leaf.DNSNames, []string{"localhost", "leaf.example"}) || len(leaf.IPAddresses) != 2 {
		t.Errorf("certificate %+v", leaf)
	}
	if nodes, err := mtls.Names(leaf); err != nil || !slices.Equal(nodes, []string{"leaf", long}) {
		t.Errorf("nodes %q, %v", nodes, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	for _, usage := range usages {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now.Add(time.Hour), DNSName: "leaf.example", KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Error(err)
		}
	}
	key, err := x509.ParsePKCS1PrivateKey(block(t, dir+"/leaf.key", "RSA PRIVATE KEY"))
	if err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("the key is another: %v", err)
	}
	if got, want := filesIn(t, dir), []string{"ca.key", "ca.pem", "leaf.csr", "leaf.key", "leaf.pem"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

// One command line may do all three, with times of its own and a key that is
// there already.
func TestTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, dir, "--cert-init", "commonname=ca", "bits=0x400", "notbefore=2026-01-01T00:00:00Z", "notafter=2027-01-01T00:00:00+02:00", "outcert=@c", "outkey=@k",
		"--cert-makereq", "commonname=n", "inkey=@k", "nodeid=n", "outreq=@r",
		"--cert-signreq", "req=@r", "cacert=@c", "cakey=@k", "notbefore=2026-02-01T00:00:00Z", "notafter=2026-03-01T00:00:00Z", "outcert=@n", "verify=yes")
	ca, n := certificate(t, dir+"/c"), certificate(t, dir+"/n")
	if ca.NotBefore.Month() != time.January || ca.NotAfter.Format(time.RFC3339) != "2026-12-31T22:00:00Z" || n.NotBefore.Month() != time.February || n.NotAfter.Month() != time.March {
		t.Errorf("valid %v to %v, and %v to %v", ca.NotBefore, ca.NotAfter, n.NotBefore, n.NotAfter)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority(t, dir)
	must(t, dir, "--cert-makereq", "commonname=n", "bits=1024", "dnsname=a.example", "ipaddress=10.0.0.1", "nodeid=n", "outreq=@r", "outkey=@k")
	const asked = "Requested certificate:\n  subject \"CN=n\"\n  DNS name \"a.example\"\n  IP address \"10.0.0.1\"\n  node ID \"n\"\nSign certificate (yes/no)? "
	for name, tc := range map[string]struct{ stdin, asked, err string }{
		"yes":             {"yes\n", asked, ""},
		"in capitals":     {" Y \r\n", asked, ""},
		"without an end":  {"yes", asked, ""},
		"no":              {"no\n", asked, "not signed: the answer was no"},
		"first something": {"perhaps\nyes\n", asked + "Sign certificate (yes/no)? ", ""},
		"nothing":         {"", asked, "not signed: expected the answer yes or no on standard input (or verify=true)"},
		"no end":          {strings.Repeat("x", 1<<20), asked, "not signed: expected the answer yes or no on standard input (or verify=true)"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "c")
			got, err := do(t, dir, tc.stdin, "--cert-signreq", "req=@r", "cacert=@ca.pem", "cakey=@ca.key", "outcert="+out)
			if got != tc.asked {
				t.Errorf("asked\n%s\nwant\n%s", got, tc.asked)
			}
			if tc.err == "" {
				if err != nil {
					t.Error(err)
				}
				certificate(t, out)
				return
			}
			if err == nil || !strings.HasSuffix(err.Error(), ": "+tc.err) {
				t.Errorf("got %v, want %s", err, tc.err)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a certificate is there: %v", err)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ args, want string }{
		"nothing given": {"--cert-init", "cert-init: parameter commonname is required: expected text\ncert-init: parameter bits is required: expected a whole number\n" +
			"cert-init: parameter outcert is required: expected a file path\ncert-init: parameter outkey is required: expected a file path"},
		"with another item":  {"--cert-init commonname=a bits=2048 outcert=a outkey=b --node-id x", "node-id x: certificates are made by a command of their own, without other items"},
		"few bits":           {"--cert-init commonname=a bits=512 outcert=a outkey=b", "parameter bits: expected a number from 1024 to 16384, got 512"},
		"many bits":          {"--cert-init commonname=a bits=1000000 outcert=a outkey=b", "parameter bits: expected a number from 1024 to 16384, got 1000000"},
		"no bits":            {"--cert-init commonname=a bits=x outcert=a outkey=b", `parameter bits: expected a whole number, got "x"`},
		"one file":           {"--cert-init commonname=a bits=2048 outcert=a outkey=./a", `parameter outkey: expected another file than outcert, got "a" twice`},
		"no time":            {"--cert-init commonname=a bits=2048 outcert=a outkey=b notafter=2030-01-01", `parameter notafter: expected a time such as 2026-01-31T12:00:00Z, got "2030-01-01"`},
		"times in disorder":  {"--cert-init commonname=a bits=2048 outcert=a outkey=b notbefore=2030-01-01T00:00:00Z notafter=2029-01-01T00:00:00Z", "parameter notafter: expected a time after notbefore, got 2029-01-01T00:00:00Z"},
		"two keys":           {"--cert-makereq commonname=a outreq=a inkey=b outkey=c", "expected inkey or outkey, got both"},
		"no key":             {"--cert-makereq commonname=a outreq=a bits=2048", "expected inkey or outkey, got neither"},
		"bits of a key":      {"--cert-makereq commonname=a outreq=a inkey=b bits=2048", "parameter bits: does not go with inkey, whose key has its size"},
		"no bits for a key":  {"--cert-makereq commonname=a outreq=a outkey=b", "parameter bits is required with outkey"},
		"no address":         {"--cert-makereq commonname=a outreq=a inkey=b ipaddress=1.2.3", `parameter ipaddress: expected an IP address, got "1.2.3"`},
		"no DNS name":        {"--cert-makereq commonname=a outreq=a inkey=b dnsname=\u00e9", `"é" is no DNS name`},
		"a certificate lost": {"--cert-signreq req=a cacert=b cakey=c outcert=./b", `parameter outcert: expected another file than cacert, got "b" twice`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := do(t, "", "", strings.Fields(tc.args)...)
			if err == nil || !strings.HasSuffix(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// What is found only when it is done.
func TestFailures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority(t, dir)
	must(t, dir,
		"--cert-init", "commonname=other", "bits=1024", "outcert=@o.pem", "outkey=@o.key",
		"--cert-makereq", "commonname=n", "inkey=@ca.key", "nodeid=n", "outreq=@n.csr",
		"--cert-makereq", "commonname=n", "inkey=@ca.key", "outreq=@nameless.csr",
		"--cert-signreq", "req=@n.csr", "cacert=@ca.pem", "cakey=@ca.key", "outcert=@n.pem", "verify=true")
	if err := os.WriteFile(dir+"/junk", []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/broken.csr", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), 0o600); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, dir)
	sign := func(req, ca, key, out string) []string {
		return []string{"--cert-signreq", "req=@" + req, "cacert=@" + ca, "cakey=@" + key, "outcert=" + out, "verify=true"}
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no request":          {sign("x", "ca.pem", "ca.key", "@out"), "open @x: no such file or directory"},
		"no PEM":              {sign("junk", "ca.pem", "ca.key", "@out"), "@junk: expected a PEM block CERTIFICATE REQUEST, found none"},
		"a broken request":    {sign("broken.csr", "ca.pem", "ca.key", "@out"), "@broken.csr: read the request: "},
		"a certificate":       {sign("n.pem", "ca.pem", "ca.key", "@out"), "@n.pem: expected a PEM block CERTIFICATE REQUEST, found none"},
		"names lack":          {sign("nameless.csr", "ca.pem", "ca.key", "@out"), "@nameless.csr: the request has no names, so that nobody would know a certificate made of it"},
		"no authority":        {sign("n.csr", "n.pem", "ca.key", "@out"), "@n.pem: the certificate is not that of an authority"},
		"another's key":       {sign("n.csr", "ca.pem", "o.key", "@out"), "the key in @o.key is not that of the certificate in @ca.pem"},
		"no key":              {sign("n.csr", "ca.pem", "ca.pem", "@out"), "@ca.pem: expected a PEM block RSA PRIVATE KEY, found none"},
		"no directory":        {sign("n.csr", "ca.pem", "ca.key", "@x/out"), "open @x/"},
		"a directory":         {sign("n.csr", "ca.pem", "ca.key", "@"), "@ is there already and is no file"},
		"valid before it was": {append(sign("n.csr", "ca.pem", "ca.key", "@out"), "notbefore=2030-01-01T00:00:00Z"), "it would be valid from 2030-01-01T00:00:00Z to 2027-11-22T22:00:00Z, which is never"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := do(t, dir, "", tc.args...)
			want := ": " + strings.ReplaceAll(tc.want, "@", dir+"/")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	if got := filesIn(t, dir); !slices.Equal(got, before) {
		t.Errorf("files %v, want those of before, %v", got, before)
	}
}

// A file is replaced where it is, behind a link, too; where the second of two
// cannot be, the first stays as it was.
func TestReplace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"old.pem", "old.key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("old.pem", dir+"/link.pem"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/dir", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, dir, "", "--cert-init", "commonname=a", "bits=1024", "outcert=@dir", "outkey=@old.key"); err == nil {
		t.Error("a directory was replaced")
	}
	if b, err := os.ReadFile(dir + "/old.key"); err != nil || string(b) != "old" {
		t.Errorf("the key is %q, %v", b, err)
	}
	must(t, dir, "--cert-init", "commonname=a", "bits=1024", "outcert=@link.pem", "outkey=@old.key")
	certificate(t, dir+"/old.pem")
	if info, err := os.Lstat(dir + "/link.pem"); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if got, want := filesIn(t, dir), []string{"dir", "link.pem", "old.key", "old.pem"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

// OpenSSL reads what we write, and we what it writes.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		b, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, b)
		}
		return string(b)
	}
	run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-subj", "/CN=n", "-out", "n.csr",
		"-addext", "subjectAltName=DNS:n.example,otherName:1.3.6.1.4.1.2312.19.1;UTF8:n")
	authority(t, dir)
	must(t, dir, "--cert-signreq", "req=@n.csr", "cacert=@ca.pem", "cakey=@ca.key", "outcert=@n.pem", "verify=true",
		"notbefore=2020-01-01T00:00:00Z", "notafter=2100-01-01T00:00:00Z")
	if nodes, err := mtls.Names(certificate(t, dir+"/n.pem")); err != nil || !slices.Equal(nodes, []string{"n"}) {
		t.Errorf("nodes %q, %v", nodes, err)
	}
	if got := run("verify", "-no_check_time", "-purpose", "sslserver", "-CAfile", "ca.pem", "n.pem"); !strings.Contains(got, "n.pem: OK") {
		t.Errorf("openssl says %s", got)
	}
	must(t, dir, "--cert-makereq", "commonname=m", "inkey=@k.pem", "nodeid=m", "ipaddress=127.0.0.1", "outreq=@m.csr")
	got := run("req", "-in", "m.csr", "-noout", "-verify", "-text")
	for _, want := range []string{"IP Address:127.0.0.1", "1.3.6.1.4.1.2312.19.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("openssl does not find %s in\n%s", want, got)
		}
	}
	run("rsa", "-in", "ca.key", "-check", "-noout")
}
