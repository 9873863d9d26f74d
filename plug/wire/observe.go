package wire

// Looked answers LOOK: what the core runs now.
type Looked struct {
	Items string         `json:"items"` // digest of the node's configuration; empty: not known
	Plugs []AttachedPlug `json:"plugs"`
}

// AttachedPlug is a plug that is attached.
type AttachedPlug struct {
	Name    string   `json:"name"`
	Program string   `json:"program"`
	UID     int64    `json:"uid"` // -1: the system does not tell
	PID     int      `json:"pid"` // of the process that connected; 0: the system does not tell
	Kinds   []string `json:"kinds"`
}
