package schema

import (
	"encoding/json"
	"time"
)

// Duration is a parameter of TypeDuration in the struct that parameters are decoded into:
// they have it as text. None is 0.
type Duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}
