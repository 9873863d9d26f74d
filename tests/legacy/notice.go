package legacy

import (
	"encoding/json"
	"fmt"
)

// The problems that a Notice can tell of.
const (
	problemUnknown = "service unknown"
	problemExpired = "message expired"
	problemBlocked = "blocked by firewall"
)

// Notice tells the sender of a message that it did not get through: the payload
// of a message from service unreach to service unreach, in the order of its keys
// on the wire. The names are those of the message that failed.
type Notice struct {
	FromNode, ToNode, FromService, ToService string
	Problem                                  string

	by string // the node that says so
}

// Error is what a failed ping says.
func (n *Notice) Error() string { return n.Problem }

// By is the node that reports the problem.
func (n *Notice) By() string { return n.by }

// parseNotice reads the payload of a message that a node has sent.
func parseNotice(from string, payload []byte) (Notice, error) {
	n := Notice{by: from}
	if err := json.Unmarshal(payload, &n); err != nil {
		return Notice{}, fmt.Errorf("read a notice: %w", err)
	}
	return n, nil
}
