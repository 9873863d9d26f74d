package wire

// Drain asks the other side to take on nothing new.
type Drain struct {
	DeadlineMS int64  `json:"deadline_ms,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// Closed tells that an object ended.
type Closed struct {
	Object string `json:"object"`
	Code   string `json:"code,omitempty"`
	Msg    string `json:"msg,omitempty"`
}

// Keep gives the core a duplicate of a listening socket, under a name of the
// plug's own.
type Keep struct {
	Item string `json:"item"`
	Key  string `json:"key"`
}

// Take asks for what was kept under that name.
type Take struct {
	Item string `json:"item"`
	Key  string `json:"key"`
}

// Cancel withdraws the request with that ID.
type Cancel struct {
	ID uint32 `json:"id"`
}

// Opened answers LINK, DIAL and ATTACH: the object is open.
type Opened struct {
	Object string `json:"object"`
}
