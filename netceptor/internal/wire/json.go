package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

var errEmpty = errors.New("message is empty")

// appendJSON appends a message. If v has no JSON form it appends nothing.
func appendJSON(b []byte, typ byte, v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		return b
	}
	return append(append(b, typ), body...)
}

// parseJSON reads a message of at most MaxMessage bytes into v. The size bounds
// everything in it: no list or map has more than a few thousand entries.
func parseJSON(m []byte, typ byte, v any) error {
	switch {
	case len(m) == 0:
		return errEmpty
	case len(m) > MaxMessage:
		return fmt.Errorf("message of %d bytes is longer than %d", len(m), MaxMessage)
	case m[0] != typ:
		return fmt.Errorf("message is of type %d, not %d", m[0], typ)
	}
	return unmarshal(m[1:], v)
}

// unmarshal is json.Unmarshal with an error that quotes little of b.
func unmarshal(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%.256s", err.Error())
	}
	return nil
}
