package wire

// Link asks the core to run a link over this connection.
type Link struct {
	Session string `json:"session"`
	Item    string `json:"item"`
	Dir     string `json:"dir"` // in or out
	Local   string `json:"local,omitempty"`
	Remote  string `json:"remote,omitempty"`
	Medium  string `json:"medium,omitempty"` // tcp, udp, ws...

	// Of a medium that has TLS itself, which the plug speaks: that it does, and the
	// node IDs in the certificate of the other side, if it has shown one that was
	// verified.
	Secured bool     `json:"secured,omitempty"`
	Names   []string `json:"names,omitempty"`

	// Residual is what was read of a socket that is handed over.
	Residual []byte `json:"residual,omitempty"`
}
