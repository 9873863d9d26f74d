package wire

import "encoding/json"

// Config is the whole set of items of the kinds that the plug was given.
type Config struct {
	Revision uint64       `json:"revision"`
	Items    []ConfigItem `json:"items"`
}

// ConfigItem is one item of a plug's configuration.
type ConfigItem struct {
	Item   string          `json:"item"` // kind and key parameters; stable over restarts
	Kind   string          `json:"kind"`
	Params json.RawMessage `json:"params"` // object; checked against the kind's schema by the core
	Live   []Live          `json:"live,omitempty"`

	// Greeting is a whole message, without its length, that introduces the node to
	// whoever dials it, of an item that accepts links; empty: an older core.
	Greeting []byte `json:"greeting,omitempty"`
}

// Live is a link of an item that was handed over and still lives, as when the
// plug that did it has died. Its end is told by Closed.
type Live struct {
	Object string `json:"object"`
	Remote string `json:"remote,omitempty"` // as LINK said
}

// ConfigResult answers Config: empty when the plug will make it so.
type ConfigResult struct {
	Errors []ItemError `json:"errors,omitempty"`
}

// ItemError is what is wrong with one item.
type ItemError struct {
	Item  string `json:"item"`
	Param string `json:"param,omitempty"`
	Msg   string `json:"msg"`
}

// The states of an item.
const (
	StateWaiting  = "waiting"
	StateUp       = "up"
	StateDegraded = "degraded"
	StateFailed   = "failed"
)

// Status is level-triggered: the whole state of the plug and of its items.
type Status struct {
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`

	// Counters tell how often what happened that nobody is told of otherwise, such as
	// a datagram that was dropped, since the process began.
	Counters map[string]uint64 `json:"counters,omitempty"`

	Items []ItemStatus `json:"items"`
}

// ItemStatus is the state of one item. Addr is what it is bound to or dials.
type ItemStatus struct {
	Item  string `json:"item"`
	State string `json:"state"`
	Addr  string `json:"addr,omitempty"`
	Err   string `json:"err,omitempty"`
}
