package state

import "time"

// Status is a unit, as our own form shows it. It holds no secrets.
type Status struct {
	ID       string `json:"unit"`
	Released bool   `json:"released,omitempty"` // then there is nothing else

	State      State  `json:"state,omitempty"`
	Phase      Phase  `json:"phase,omitempty"`    // of a pending one
	Position   int    `json:"position,omitempty"` // in the queue, from 1
	Detail     string `json:"detail,omitempty"`
	Type       string `json:"type,omitempty"`
	Worker     string `json:"worker,omitempty"` // that has it; empty: it is away
	Node       string `json:"node,omitempty"`   // that runs it; empty: this one
	RemoteUnit string `json:"remote_unit,omitempty"`
	// Since when the node is not known to be there: the rest is as it was then.
	NodeUnknownSince time.Time `json:"node_unknown_since,omitzero"`

	Params      map[string]string `json:"params,omitempty"`
	Submission  string            `json:"submission,omitempty"`
	Merged      bool              `json:"merged,omitempty"`
	Secure      bool              `json:"secure,omitempty"` // requests about it must be signed
	CancelAsked bool              `json:"cancel_asked,omitempty"`
	PID         int               `json:"pid,omitempty"`
	Exit        *Exit             `json:"exit,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Refusal     string            `json:"refusal,omitempty"` // the code, if another node has not taken it
	Created     time.Time         `json:"created,omitzero"`
	Started     time.Time         `json:"started,omitzero"`
	Ended       time.Time         `json:"ended,omitzero"`
	Stdin       Output            `json:"stdin"`
	Stdout      Output            `json:"stdout"` // as far as it has got; the digest comes with the end
	Stderr      Output            `json:"stderr"`
	History     []Change          `json:"history,omitempty"`
}

// Brief is u without what may be long: it fits into a frame.
func (u Status) Brief() Status {
	u.Params, u.History = nil, nil
	return u
}

// TypeStatus is a type of work.
type TypeStatus struct {
	Name   string `json:"type"`
	Worker string `json:"worker,omitempty"` // empty: it is away
	Slots  int    `json:"slots,omitempty"`
	Busy   int    `json:"busy"`
	Queued int    `json:"queued"`
	Secure bool   `json:"secure,omitempty"`
}

// NodeStatus is another node that is to run units of this one.
type NodeStatus struct {
	Node         string    `json:"node"`
	TLSClient    string    `json:"tls_client,omitempty"`
	Alive        bool      `json:"alive"` // there is a conversation with it
	UnknownSince time.Time `json:"unknown_since,omitzero"`
	Reason       string    `json:"reason,omitempty"` // why it is not alive
	Units        int       `json:"units"`            // that have not ended
}
