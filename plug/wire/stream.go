package wire

// Dial asks for a stream to a service on a node; the answer means that it is open.
type Dial struct {
	Session   string `json:"session"`
	Item      string `json:"item,omitempty"`
	Node      string `json:"node"`
	Service   string `json:"service"`
	TimeoutMS int64  `json:"timeout_ms,omitempty"` // 0: DialTimeout
}

// Bind asks for a stream service on this node. It is idempotent by Bind.
type Bind struct {
	Bind      string            `json:"bind"` // chosen by the plug, stable over its restarts
	Item      string            `json:"item,omitempty"`
	Service   string            `json:"service"`
	Advertise bool              `json:"advertise,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
}

// Bound answers Bind.
type Bound struct {
	Service string `json:"service"`
}

// Unbind gives a service up at once.
type Unbind struct {
	Bind string `json:"bind"`
}

// Accept offers an incoming stream to the plug that bound its service.
type Accept struct {
	Bind   string     `json:"bind"`
	Object string     `json:"object"`
	Remote RemoteAddr `json:"remote"`
}

// RemoteAddr is a mesh address.
type RemoteAddr struct {
	Node    string `json:"node"`
	Service string `json:"service"`
}

// Accepted answers Accept: the plug will attach to the object.
type Accepted struct{}

// Attach opens the data connection of an accepted stream.
type Attach struct {
	Session string `json:"session"`
	Object  string `json:"object"`
}

// Reset is the payload of a RESET record.
type Reset struct {
	Code string `json:"code"`
	Msg  string `json:"msg,omitempty"`
}
