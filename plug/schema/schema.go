// Package schema checks the parameters of configuration items against what a
// plug (or the core) describes, and puts values of any source, flags as well as
// YAML, into one canonical form.
package schema

import (
	"errors"

	"github.com/project-receptor/receptor/plug/wire"
)

// The types a parameter can have, and their canonical JSON form.
const (
	TypeString   = "string"   // string; numbers and booleans are turned into text
	TypeInt      = "int"      // number; text in base 0 (0600, 0x10)
	TypeFloat    = "float"    // number
	TypeBool     = "bool"     // true or false; text as legacy: 1 t T Y true TRUE True yes Yes YES and opposites
	TypeDuration = "duration" // string as of time.ParseDuration
	TypeList     = "list"     // array of strings; text: JSON array, else one element; repeatable
	TypeMap      = "map"      // object; text: JSON object
	TypeAddress  = "address"  // string host:port
	TypePath     = "path"     // string, a file path
	TypeService  = "service"  // string of 1 to 8 bytes
	TypeNode     = "node"     // string, a node ID
)

// Error says what is wrong with one parameter of one item.
type Error struct {
	Item  string // the item as the user wrote it: "tcp-listener port=x" or "node.yml:12: tcp-listener"
	Param string // as the user wrote it; empty: the item itself
	Want  string // what was expected
	Got   string // what was there; empty: nothing
}

// Error implements error: one line.
func (e *Error) Error() string { return "" }

// Values are the canonical parameters of an item, by lower-case name.
type Values map[string]any

// Check puts raw parameters (any letter case; values of type string, bool,
// int, int64, uint64, float64, []any, map[string]any, map[any]any, nil) into
// canonical form against k, with defaults filled in. alias is the name that the
// user wrote, which may carry other defaults. All mistakes are returned, each
// an *Error with Item set to label.
func Check(k *wire.Kind, alias, label string, raw map[string]any) (Values, []error) {
	return nil, []error{errors.New("not built yet")}
}

// Identity is the item's name that is stable over restarts: the kind and its
// key parameters, "tcp-listener port=2222".
func Identity(k *wire.Kind, v Values) string { return "" }

// Find returns the kind called name, or having it as an alias, in any letter case.
func Find(kinds []wire.Kind, name string) *wire.Kind { return nil }
