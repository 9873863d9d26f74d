package mtls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// sanVector is what a legacy node's cert-signreq has made.
type sanVector struct {
	San struct {
		Hex         string `json:"hex"`
		Certificate string `json:"certificate_pem"`
		CA          string `json:"ca_pem"`
	} `json:"san_extension"`
}

func readVector(t testing.TB) (v sanVector) {
	t.Helper()
	b, err := os.ReadFile("testdata/09-san.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVector(t *testing.T) {
	t.Parallel()
	v := readVector(t)
	san, err := SubjectAltNames([]string{"localhost", "tlsa.example"}, []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"tlsa"})
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(san.Value); got != v.San.Hex {
		t.Errorf("made %s\nwant %s", got, v.San.Hex)
	}
	block, _ := pem.Decode([]byte(v.San.Certificate))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	names, err := Names(c)
	if err != nil || !slices.Equal(names, []string{"tlsa"}) {
		t.Errorf("names %q, %v", names, err)
	}
}

// Existing nodes break names above 113 bytes. The lengths here are those where
// one of the nested lengths takes another byte.
func TestLongNames(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 90, 105, 106, 107, 111, 112, 113, 114, 120, 121, 127, 128, 129, 230, 240, 255, 256, 257, 65535, 70000} {
		long := strings.Repeat("n", n)
		san, err := SubjectAltNames(nil, nil, []string{long, "b"})
		if err != nil {
			t.Fatal(n, err)
		}
		names, err := NamesIn([]pkix.Extension{san})
		if err != nil || !slices.Equal(names, []string{long, "b"}) {
			t.Errorf("%d: got %d names, %v", n, len(names), err)
		}
	}
}

func TestReadNames(t *testing.T) {
	t.Parallel()
	const oid = "06092b0601040192081301"
	for _, tt := range []struct {
		name, hex string
		want      []string
		wrong     string // part of the error
	}{
		{"none", "3000", nil, ""},
		{"only hosts", "30058203616263", nil, ""},
		{"an otherName of another type", "300d a00b 06032a0304 a004 0c026869", nil, ""},
		{"an otherName of another type whose value is odd", "3009 a007 06032a0304 0500", nil, ""},
		{"UTF8String", "3015 a013 " + oid + " a006 0c0474 6c7361", []string{"tlsa"}, ""},
		{"PrintableString", "3015 a013 " + oid + " a006 1304746c7361", []string{"tlsa"}, ""},
		{"IA5String", "3015 a013 " + oid + " a006 1604746c7361", []string{"tlsa"}, ""},
		{"T61String", "3015 a013 " + oid + " a006 1404746c7361", []string{"tlsa"}, ""},
		{"BMPString", "3015 a013 " + oid + " a006 1e0400740061", []string{"ta"}, ""},
		{"two", "302a a013 " + oid + " a006 0c04746c7361 a013 " + oid + " a006 0c04746c7362", []string{"tlsa", "tlsb"}, ""},
		{"no explicit tag", "3013 a011 " + oid + " 0c04746c7361", nil, "explicitly"},
		{"a number", "3012 a010 " + oid + " a003 020105", nil, "asn1"},
		{"empty", "3011 a00f " + oid + " a002 0c00", nil, "empty"},
		{"not UTF-8", "3013 a011 " + oid + " a004 0c02ff00", nil, "UTF-8"},
		{"localhost", "301a a018 " + oid + " a00b 0c094c6f63616c686f7374", nil, "every node"},
		{"two values", "3015 a013 " + oid + " a004 0c026162 0500", nil, "after the value"},
		{"bytes after it", "3000 00", nil, "after the value"},
		{"no type", "3002 a000", nil, "asn1"},
		{"nothing", "", nil, "asn1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			names, err := parseNames(unhex(t, tt.hex))
			if !slices.Equal(names, tt.want) || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("got %q, %v; want %q, %q", names, err, tt.want, tt.wrong)
			}
		})
	}
}

func TestReadNamesCutShort(t *testing.T) {
	t.Parallel()
	der := unhex(t, readVector(t).San.Hex)
	for n := range der {
		if names, err := parseNames(der[:n]); err == nil {
			t.Errorf("%d of %d bytes: %q and no error", n, len(der), names)
		}
	}
}

func TestMakeNamesRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dns   []string
		ips   []net.IP
		nodes []string
	}{
		"nothing":       {},
		"empty node":    {nodes: []string{""}},
		"node no UTF-8": {nodes: []string{"a\xff"}},
		"localhost":     {nodes: []string{"LOCALHOST"}},
		"empty host":    {dns: []string{""}},
		"a host in UTF": {dns: []string{"ünï"}},
		"two hosts":     {dns: []string{"a b"}},
		"half an IP":    {ips: []net.IP{{1, 2}}},
	} {
		if san, err := SubjectAltNames(tt.dns, tt.ips, tt.nodes); err == nil {
			t.Errorf("%s: got %x", name, san.Value)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add(unhex(f, readVector(f).San.Hex))
	f.Add(unhex(f, "3015a01306092b0601040192081301a00613046162ff00"))
	f.Add(unhex(f, "3084ffffffff"))
	f.Fuzz(func(t *testing.T, der []byte) {
		names, err := parseNames(der)
		if err != nil || len(names) == 0 {
			return
		}
		again, err := SubjectAltNames(nil, nil, names)
		if err != nil {
			t.Fatalf("read %q, which cannot be made: %v", names, err)
		}
		back, err := parseNames(again.Value)
		if err != nil || !slices.Equal(back, names) {
			t.Fatalf("read %q, then %q, %v", names, back, err)
		}
	})
}
