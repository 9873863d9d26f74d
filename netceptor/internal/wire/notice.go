package wire

import (
	"encoding/json"
	"fmt"
)

// Notice is the payload of a data message from unreach to unreach: why a message
// of the addressed node did not arrive.
type Notice struct {
	FromNode, ToNode       string
	FromService, ToService string
	Problem                string
}

// The problems of a Notice.
const (
	ProblemServiceUnknown = "service unknown"
	ProblemExpired        = "message expired"
	ProblemFirewall       = "blocked by firewall"
)

// Append appends the JSON.
func (n *Notice) Append(b []byte) []byte {
	body, err := json.Marshal(n)
	if err != nil {
		return b // cannot be: strings always have a JSON form
	}
	return append(b, body...)
}

// ParseNotice reads the JSON. It does not retain b.
func ParseNotice(b []byte) (*Notice, error) {
	n := new(Notice)
	if err := unmarshal(b, n); err != nil {
		return nil, fmt.Errorf("parse unreachable notice: %w", err)
	}
	return n, nil
}
