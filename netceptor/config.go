package netceptor

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/internal/linkproto"
)

// Config is what a node needs. The zero value of each field but NodeID is usable.
type Config struct {
	NodeID string       // required; any text but "localhost"
	Logger hclog.Logger // nil: none

	// Epoch identifies this run of the node. It must be greater than any that the
	// node had before, or the mesh ignores it: see NextEpoch. 0: from the clock.
	Epoch uint64

	// StatelessResetKey lets peers notice at once that this node has restarted;
	// keep it over restarts. Zero: random.
	StatelessResetKey [32]byte

	// SigningKey signs what this node says about its links, so that others of ours believe
	// nobody else about it. Keep it over restarts, or say that it is temporary: until
	// the mesh has missed the node, or 35 seconds have passed, it believes no node of
	// its name with another key. nil: nothing is signed.
	SigningKey   ed25519.PrivateKey
	TemporaryKey bool

	Version string // reported in status

	// MaxIdle closes a link on which nothing was received for that long.
	// 0: 21 s; not less (two periods of routing updates and a second).
	MaxIdle time.Duration

	// RequireTLS refuses links without TLS, unless they do not leave the host.
	RequireTLS bool

	// Firewall decides about the data messages that this node sends, forwards or
	// takes: the first rule that matches does. Without one they pass.
	Firewall []FirewallRule

	// Now is the time as this node's clock has it. Nothing depends on that being right
	// but what the mesh is told: it runs as fast as others'. nil: time.Now.
	Now func() time.Time

	// noStreams makes a node without streams: their socket cannot live in the
	// bubble of a test with its own time.
	noStreams bool
}

// Validate checks c and names the field that is wrong.
func (c *Config) Validate() error {
	switch {
	case c.NodeID == "":
		return errors.New("NodeID: is required")
	case strings.EqualFold(c.NodeID, localhost):
		return fmt.Errorf("NodeID: %q stands for the node itself and cannot be its name", c.NodeID)
	case !utf8.ValidString(c.NodeID):
		return errors.New("NodeID: is not valid UTF-8")
	case c.MaxIdle != 0 && c.MaxIdle < linkproto.MinMaxIdle:
		return fmt.Errorf("MaxIdle: %v is less than %v", c.MaxIdle, linkproto.MinMaxIdle)
	case len(c.SigningKey) != 0 && len(c.SigningKey) != ed25519.PrivateKeySize:
		return fmt.Errorf("SigningKey: has %d bytes, not %d", len(c.SigningKey), ed25519.PrivateKeySize)
	}
	_, err := compileFirewall(c.Firewall)
	return err
}
