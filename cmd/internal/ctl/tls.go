package ctl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// tlsFlags say how to speak TLS with a node: by the files of the command line, or
// by a tls-client item of a node's configuration.
type tlsFlags struct {
	rootCAs, key, cert string
	insecure           string // a text, since legacy command lines give it a value
	config, item       string
}

func (t *tlsFlags) register(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&t.rootCAs, "rootcas", "", "file with the authorities of the node; default: those of the system")
	f.StringVar(&t.key, "key", "", "file with our key, for TLS")
	f.StringVar(&t.cert, "cert", "", "file with our certificate, for TLS")
	f.StringVar(&t.insecure, "insecureskipverify", "false", "true: take any node for the right one")
	f.StringVarP(&t.config, "config", "c", "", "configuration file of a node, for --tls-client (RECEPTORCTL_CONFIG)")
	f.StringVar(&t.item, "tls-client", "", "name of a tls-client in that file (RECEPTORCTL_TLSCLIENT)")
}

// client checks the flags. Only if TLS is needed it reads the files and returns
// what they make.
func (t *tlsFlags) client(needed bool, getenv func(string) string) (*mtls.Client, error) {
	p := mtls.ClientProfile{
		Name: "receptorctl", RootCAs: t.rootCAs,
		// We are no node, and do not ask for one: the host is what is checked.
		SkipReceptorNamesCheck: true,
	}
	if t.cert != "" && t.key != "" {
		p.Cert, p.Key = t.cert, t.key
	}
	if t.insecure != "" {
		var ok bool
		if p.InsecureSkipVerify, ok = parseBool(t.insecure); !ok {
			return nil, usagef("'%s' is not a valid boolean.", t.insecure)
		}
	}
	file, item := t.config, t.item
	if file == "" {
		file = getenv("RECEPTORCTL_CONFIG")
	}
	if item == "" {
		item = getenv("RECEPTORCTL_TLSCLIENT")
	}
	switch {
	case file == "":
	case t.rootCAs+t.key+t.cert != "":
		return nil, usagef("Cannot specify both config and rootcas, key, cert")
	case item == "":
		return nil, usagef("Must specify both config and tlsclient")
	default:
		if err := fromFile(&p, file, item); err != nil {
			return nil, err
		}
	}
	if !needed {
		return nil, nil //nolint:nilnil // no TLS is needed
	}
	client, err := mtls.LoadClient(p, "", nil)
	if err != nil {
		return nil, fmt.Errorf("prepare TLS: %w", err)
	}
	return client, nil
}

// fromFile takes the files that a tls-client item names.
func fromFile(p *mtls.ClientProfile, file, name string) error {
	items, err := config.ReadFile(file)
	if err != nil {
		return err
	}
	for _, i := range items {
		text := func(key string) string {
			if v := i.Params[key]; v != nil {
				return fmt.Sprint(v)
			}
			return ""
		}
		if i.Kind != "tls-client" || text("name") != name {
			continue
		}
		p.RootCAs, p.Cert, p.Key = text("rootcas"), text("cert"), text("key")
		if insecure := text("insecureskipverify"); insecure != "" {
			var ok bool
			if p.InsecureSkipVerify, ok = parseBool(insecure); !ok {
				return fmt.Errorf("%s: insecureskipverify: expected true or false, got %q", i.Label, insecure)
			}
		}
		return nil
	}
	return fmt.Errorf("%s has no tls-client with the name %q", file, name)
}

// parseBool knows the words that legacy command lines have for yes and no.
func parseBool(s string) (value, ok bool) {
	s = strings.ToLower(s)
	if slices.Contains([]string{"true", "yes", "on", "1", "t", "y"}, s) {
		return true, true
	}
	return false, slices.Contains([]string{"false", "no", "off", "0", "f", "n"}, s)
}

// secure speaks TLS on a connection, which it closes when that fails.
func (a Address) secure(ctx context.Context, conn net.Conn, client *mtls.Client) (net.Conn, error) {
	t, _, err := client.Handshake(ctx, conn, a.host)
	if err == nil {
		return t, nil
	}
	_ = conn.Close()
	var other tls.RecordHeaderError
	if errors.As(err, &other) {
		switch header := other.RecordHeader[:]; {
		case isMesh(header):
			err = errMesh
		case string(header) == "Recep":
			err = errors.New("the node speaks no TLS here: use tcp:HOST:PORT")
		}
	}
	return nil, fmt.Errorf("Failed to connect to Receptor socket %s: %w", a, err) //nolint:staticcheck // scripts know this text
}

// meshPrefix is how many bytes tell a mesh port from a control socket.
const meshPrefix = 4

// isMesh tells whether a peer begins as nodes do on a link: with a frame of two
// bytes of length, that holds a routing update.
func isMesh(first []byte) bool {
	return len(first) >= meshPrefix && first[2] == 1 && first[3] == '{'
}

var errMesh = errors.New("this is a mesh port, where nodes link up (a tcp-listener); the control socket is elsewhere (a control-service)")
