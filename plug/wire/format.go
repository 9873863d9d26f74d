package wire

import "errors"

// ErrShort is returned by a parser that needs more bytes than it was given.
var ErrShort = errors.New("plug: short input")

// FormatError says which field of a fixed header is wrong.
type FormatError struct {
	Field string
	Want  string
	Got   string
}

// Error implements error: one line.
func (e *FormatError) Error() string {
	return "plug: " + e.Field + " is " + e.Got + ", want " + e.Want
}
