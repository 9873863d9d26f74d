package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Texts that clients of legacy nodes know.
var (
	errNoCommand      = errors.New("JSON did not contain a command")
	errCommandNoText  = errors.New("command must be a string")
	errUnknownCommand = errors.New("Unknown command") //nolint:staticcheck // as legacy nodes say it
)

// request is one parsed line.
type request struct {
	name string // lower case in the plain form, as given in the others

	args   *string                    // plain form: what follows the first space
	params map[string]json.RawMessage // legacy JSON: all keys but "command"

	own     bool            // our own form, with:
	id      json.RawMessage // as given; nil without one
	ownArgs json.RawMessage // a JSON object
}

// parseRequest parses a line without its LF. The error of a legacy form is the
// first of the two that the client gets; that of our own form is an *Error, and own
// and id are set as far as they are good.
func parseRequest(line []byte) (request, error) {
	if line[0] != '{' {
		name, args, _ := strings.Cut(string(line), " ")
		return request{name: strings.ToLower(name), args: &args}, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(line, &keys); err != nil {
		return request{}, err
	}
	if v, ok := keys["v"]; ok && isNumber(v) {
		return parseOwn(keys)
	}
	raw, ok := keys["command"]
	if !ok {
		return request{}, errNoCommand
	}
	name, ok := jsonString(raw)
	if !ok {
		return request{}, errCommandNoText
	}
	delete(keys, "command")
	return request{name: name, params: keys}, nil
}

// parseOwn parses a line whose key "v" is a number. That tells our own form from
// the legacy one, where parameters of units of work are keys, but always strings.
func parseOwn(keys map[string]json.RawMessage) (request, error) {
	r := request{own: true, ownArgs: json.RawMessage("{}")}
	if len(keys["id"]) > maxID {
		return r, &Error{CodeInvalid, fmt.Sprintf("id is longer than %d bytes", maxID)}
	}
	r.id = keys["id"]
	if v := string(keys["v"]); v != "1" {
		return r, &Error{CodeUnsupported, fmt.Sprintf("version %.20s of this form is not spoken here, 1 is", v)}
	}
	name, ok := jsonString(keys["command"])
	if !ok {
		return r, &Error{CodeInvalid, errCommandNoText.Error()}
	}
	r.name = name
	if args, ok := keys["args"]; ok && string(args) != "null" {
		if args[0] != '{' {
			return r, &Error{CodeInvalid, "args must be an object"}
		}
		r.ownArgs = args
	}
	return r, nil
}

// isNumber tells whether a valid JSON value is a number.
func isNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9')
}

// jsonString decodes raw if it is a string; null is none.
func jsonString(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// decodeArgs decodes the arguments of our own form into v, a struct, and refuses
// those that it does not know: a misspelt one must not pass for its default.
func decodeArgs(args json.RawMessage, v any) error {
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return &Error{CodeInvalid, fmt.Sprintf("args: %s is a %s, not a %s", wrong.Field, wrong.Value, wrong.Type)}
	}
	return &Error{CodeInvalid, "args: " + strings.TrimPrefix(err.Error(), "json: ")}
}
