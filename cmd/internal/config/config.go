// Package config reads a node's configuration: a list of items, from command
// lines and YAML files in any mixture, in the order in which they were written.
//
// Reading an item says nothing about whether its kind exists: the core's own
// kinds are checked by [Split], all others by whoever has their description.
// Every mistake is found, not just the first, and each is one line that names
// the place where it was made.
package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Item is one object of a configuration.
type Item struct {
	Kind   string         `json:"kind"`             // lower case; may be an alias
	Params map[string]any `json:"params,omitempty"` // by lower-case name, values as written; [schema.Bare] for one without a name
	Label  string         `json:"label"`            // where it was written, for messages
}

// Errors are all the mistakes of a configuration, one line each.
type Errors []error

// Error implements error: the lines.
func (e Errors) Error() string { return errors.Join(e...).Error() }

// Unwrap gives the single mistakes to errors.Is and errors.As.
func (e Errors) Unwrap() []error { return e }

// err is nil where there is no mistake, so that an empty Errors never passes for an error.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// MaxSize limits a configuration, file or pipe: 4 MiB is tens of thousands of
// items, and keeps a wrong file name from filling the memory.
const MaxSize = 4 << 20

// Decode reads items that [Encode] wrote.
func Decode(r io.Reader) ([]Item, error) {
	b, err := readAll(r)
	if err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a float would lose digits of large integers
	d.DisallowUnknownFields()
	var items []Item
	if err := d.Decode(&items); err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	return items, nil
}

// Encode writes items as a JSON list, the form in which the launcher hands them to the core.
func Encode(items []Item) ([]byte, error) {
	b, err := json.Marshal(slices.Concat([]Item{}, items)) // an empty list, never null
	if err != nil {
		return nil, fmt.Errorf("write items: %w", err)
	}
	return b, nil
}

// Digest tells configurations apart: it is the same for the same items in the same
// order, wherever they were written, and whether they were handed over or not.
func Digest(items []Item) (string, error) {
	// What was handed over has been through JSON, which has one kind of number.
	b, err := Encode(items)
	if err == nil {
		items, err = Decode(bytes.NewReader(b))
	}
	if err != nil {
		return "", err
	}
	for i := range items {
		items[i].Label = "" // where it was written
	}
	if b, err = Encode(items); err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(b) > MaxSize {
		err = fmt.Errorf("larger than %d MiB", MaxSize>>20)
	}
	return b, err
}

// add appends a value to what a parameter has already: a repeated one collects into a list.
func add(params map[string]any, name string, value any) {
	switch old := params[name].(type) {
	case nil:
		params[name] = value
	case []any:
		params[name] = append(old, value)
	default:
		params[name] = []any{old, value}
	}
}

// canonicalKind is the name under which an item is looked up. The one word that
// is neither kind nor alias is node-id, of the first command lines.
func canonicalKind(name string) string {
	name = strings.ToLower(name)
	if name == "node-id" {
		return "node"
	}
	return name
}
