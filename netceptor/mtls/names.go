package mtls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode/utf8"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNodeID         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 2312, 19, 1}
)

// The context tags of the GeneralNames that we make.
const (
	tagOtherName = 0
	tagDNSName   = 2
	tagIPAddress = 7
)

// otherName is the content of a GeneralName [0].
type otherName struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// Names are the node IDs that a certificate carries, in its order; none is no
// error. It is an error if one of them cannot be read: then the certificate says
// something that we do not understand.
func Names(c *x509.Certificate) ([]string, error) { return NamesIn(c.Extensions) }

// NamesIn is Names for the extensions of a certificate or of a request for one.
func NamesIn(extensions []pkix.Extension) ([]string, error) {
	var names []string
	for _, e := range extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		found, err := parseNames(e.Value)
		if err != nil {
			return nil, fmt.Errorf("read node IDs of a certificate: %w", err)
		}
		names = append(names, found...)
	}
	return names, nil
}

// parseNames reads the value of a subjectAltName extension.
func parseNames(der []byte) ([]string, error) {
	var all []asn1.RawValue
	if err := unmarshal(der, &all); err != nil {
		return nil, err
	}
	var names []string
	for _, general := range all {
		if general.Class != asn1.ClassContextSpecific || general.Tag != tagOtherName {
			continue
		}
		name, ours, err := parseOtherName(general)
		if err != nil {
			return nil, err
		}
		if ours {
			names = append(names, name)
		}
	}
	return names, nil
}

// parseOtherName reads one otherName; ours: it is a node ID.
func parseOtherName(general asn1.RawValue) (name string, ours bool, err error) {
	// Implicitly tagged: its content is that of a sequence.
	rest := general.Bytes
	var o otherName
	if rest, err = asn1.Unmarshal(rest, &o.Type); err != nil {
		return "", false, err
	}
	if !o.Type.Equal(oidNodeID) {
		return "", false, nil
	}
	if err := unmarshal(rest, &o.Value); err != nil {
		return "", false, err
	}
	if o.Value.Class != asn1.ClassContextSpecific || o.Value.Tag != 0 || !o.Value.IsCompound {
		return "", false, errors.New("the value of a node ID is not explicitly tagged")
	}
	if err := unmarshal(o.Value.Bytes, &name); err != nil { // a string of any kind
		return "", false, err
	}
	if err := checkNodeID(name); err != nil {
		return "", false, err
	}
	return name, true, nil
}

func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = errors.New("there are bytes after the value")
	}
	return err
}

func checkNodeID(id string) error {
	switch {
	case id == "":
		return errors.New("a node ID is empty")
	case !utf8.ValidString(id):
		return fmt.Errorf("the node ID %.256q is not UTF-8", id)
	case strings.EqualFold(id, "localhost"):
		return fmt.Errorf("the node ID %q stands for every node itself", id)
	}
	return nil
}

// SubjectAltNames makes the extension that names hosts, addresses and nodes, in
// that order. It goes into ExtraExtensions of a template of crypto/x509, for a
// certificate or for a request.
func SubjectAltNames(dnsNames []string, addresses []net.IP, nodeIDs []string) (pkix.Extension, error) {
	var all []asn1.RawValue
	for _, name := range dnsNames {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return pkix.Extension{}, fmt.Errorf("%q is no DNS name", name)
		}
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagDNSName, Bytes: []byte(name)})
	}
	for _, ip := range addresses {
		b := ip.To4()
		if b == nil {
			b = ip.To16()
		}
		if b == nil {
			return pkix.Extension{}, fmt.Errorf("%v is no IP address", []byte(ip))
		}
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagIPAddress, Bytes: b})
	}
	for _, id := range nodeIDs {
		name, err := marshalNodeID(id)
		if err != nil {
			return pkix.Extension{}, err
		}
		all = append(all, name)
	}
	if len(all) == 0 {
		return pkix.Extension{}, errors.New("there is no name to put into the certificate")
	}
	value, err := asn1.Marshal(all)
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("make names of a certificate: %w", err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: value}, nil
}

func marshalNodeID(id string) (asn1.RawValue, error) {
	if err := checkNodeID(id); err != nil {
		return asn1.RawValue{}, err
	}
	text, err := asn1.MarshalWithParams(id, "utf8")
	if err != nil {
		return asn1.RawValue{}, err
	}
	b, err := asn1.Marshal(otherName{
		Type:  oidNodeID,
		Value: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: text},
	})
	if err != nil {
		return asn1.RawValue{}, err
	}
	var sequence asn1.RawValue
	if err := unmarshal(b, &sequence); err != nil {
		return asn1.RawValue{}, err
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagOtherName, IsCompound: true, Bytes: sequence.Bytes}, nil
}
