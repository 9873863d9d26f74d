package wire

// Link asks the core to run a link over this connection.
type Link struct {
	Session string `json:"session"`
	Item    string `json:"item"`
	Dir     string `json:"dir"` // in or out
	Local   string `json:"local,omitempty"`
	Remote  string `json:"remote,omitempty"`
	Medium  string `json:"medium,omitempty"` // tcp, udp, ws...
}
