package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/project-receptor/receptor/plug/wire"
)

// The types a parameter can have, and their canonical form: in Values, and as
// JSON. With Repeat the canonical form is an array of these.
const (
	TypeString   = "string"   // string; numbers and booleans are turned into text
	TypeInt      = "int"      // int64, number; text in base 0 (0600, 0x10)
	TypePort     = "port"     // int64, number from 0 to 65535; text in base 0
	TypeFloat    = "float"    // float64, number
	TypeCost     = "cost"     // float64, number above 0 and at most MaxCost
	TypeCosts    = "costs"    // map[string]any of float64, object: node ID to cost; text: JSON object
	TypeBool     = "bool"     // bool; text as legacy: 1 t T Y true TRUE True yes Yes YES and opposites, and on, off
	TypeDuration = "duration" // string as of time.Duration.String, not negative
	TypeList     = "list"     // []string, array of strings; text: JSON array, else one element; repeatable
	TypeMap      = "map"      // map[string]any, object; text: JSON object
	TypeAddress  = "address"  // string host:port
	TypePath     = "path"     // string, a file path
	TypeService  = "service"  // string of 1 to 8 bytes
	TypeNode     = "node"     // string, a node ID

	TypeTLSServer = "tls-server" // string, the name of a tls-server item; empty: no TLS
	TypeTLSClient = "tls-client" // string, the name of a tls-client item; empty: no TLS
)

// MaxCost keeps the sum of a path's costs exact enough to compare.
const MaxCost = 1e9

// maxService is the width of a service name in a data frame, in bytes.
const maxService = 8

// Types lists the types, sorted.
func Types() []string { return slices.Sorted(maps.Keys(wants)) }

// wants says what is expected of a value, by type.
var wants = map[string]string{
	TypeString:   "text",
	TypeInt:      "a whole number",
	TypePort:     "a number from 0 to 65535",
	TypeFloat:    "a number",
	TypeCost:     "a number above 0, at most 1e9",
	TypeCosts:    `a map of node IDs to costs, such as {"node": 2.5}`,
	TypeBool:     "true or false",
	TypeDuration: "a duration such as 10s or 1m30s",
	TypeList:     "a list of texts",
	TypeMap:      `a map such as {"key": "value"}`,
	TypeAddress:  "host:port",
	TypePath:     "a file path",
	TypeService:  "a service name of 1 to 8 bytes",
	TypeNode:     "a node ID",

	TypeTLSServer: "the name of a tls-server",
	TypeTLSClient: "the name of a tls-client",
}

func want(p *wire.Param) string {
	if w, ok := wants[p.Type]; ok {
		return w
	}
	return fmt.Sprintf("a value of type %q, which is not known here", p.Type)
}

// canonical puts one raw value into p's form. The error lacks Item, and Param
// but for what follows the parameter's name.
func canonical(p *wire.Param, raw any) (any, *Error) {
	if p.Repeat && p.Type != TypeList {
		list := []any{}
		for _, e := range elements(raw) {
			c, bad := one(p, e)
			if bad != nil {
				return nil, bad
			}
			list = append(list, c)
		}
		return list, nil
	}
	return one(p, raw)
}

func one(p *wire.Param, raw any) (any, *Error) {
	var (
		c  any
		ok bool
	)
	switch p.Type {
	case TypeString, TypeTLSServer, TypeTLSClient:
		c, ok = toText(raw)
	case TypeInt:
		c, ok = toInt(raw, math.MinInt64, math.MaxInt64)
	case TypePort:
		c, ok = toInt(raw, 0, math.MaxUint16)
	case TypeFloat:
		c, ok = toFloat(raw)
	case TypeCost:
		c, ok = toCost(raw)
	case TypeCosts:
		return toCosts(p, raw)
	case TypeBool:
		c, ok = toBool(raw)
	case TypeDuration:
		c, ok = toDuration(raw)
	case TypeList:
		c, ok = toList(raw)
	case TypeMap:
		c, ok = toMap(raw)
	case TypeAddress:
		c, ok = toTextOf(raw, isAddress)
	case TypePath:
		c, ok = toTextOf(raw, isName)
	case TypeService:
		c, ok = toTextOf(raw, func(s string) bool { return isName(s) && len(s) <= maxService })
	case TypeNode:
		c, ok = toTextOf(raw, isName)
	}
	if !ok || p.Required && c == "" {
		return nil, &Error{Want: want(p), Got: got(raw)}
	}
	return c, nil
}

// number returns raw as an integer or a float, whichever it is.
func number(raw any) (i int64, f float64, isInt, ok bool) {
	switch n := raw.(type) {
	case int:
		return int64(n), float64(n), true, true
	case int64:
		return n, float64(n), true, true
	case uint64:
		return int64(n), float64(n), n <= math.MaxInt64, true //nolint:gosec // told by isInt
	case float64:
		whole := n == math.Trunc(n) && math.Abs(n) < 1<<53 // beyond, a float names several integers
		if !whole {
			return 0, n, false, true
		}
		return int64(n), n, true, true
	case json.Number:
		if i, err := n.Int64(); err == nil {
			return i, float64(i), true, true
		}
		f, err := n.Float64()
		return 0, f, false, err == nil
	}
	return 0, 0, false, false
}

func toText(raw any) (string, bool) {
	switch s := raw.(type) {
	case string:
		return s, true
	case bool:
		return strconv.FormatBool(s), true
	case uint64:
		return strconv.FormatUint(s, 10), true
	}
	i, f, isInt, ok := number(raw)
	if isInt {
		return strconv.FormatInt(i, 10), true
	}
	return strconv.FormatFloat(f, 'g', -1, 64), ok
}

func toTextOf(raw any, valid func(string) bool) (string, bool) {
	s, ok := toText(raw)
	return s, ok && valid(s)
}

func toInt(raw any, low, high int64) (int64, bool) {
	i, _, ok, _ := number(raw)
	if s, isText := raw.(string); isText {
		var err error
		i, err = strconv.ParseInt(strings.TrimSpace(s), 0, 64)
		ok = err == nil
	}
	return i, ok && low <= i && i <= high
}

func toFloat(raw any) (float64, bool) {
	_, f, _, ok := number(raw)
	if s, isText := raw.(string); isText {
		var err error
		f, err = strconv.ParseFloat(strings.TrimSpace(s), 64)
		ok = err == nil
	}
	return f, ok && !math.IsNaN(f) && !math.IsInf(f, 0)
}

func toCost(raw any) (float64, bool) {
	f, ok := toFloat(raw)
	return f, ok && f > 0 && f <= MaxCost
}

func toCosts(p *wire.Param, raw any) (any, *Error) {
	m, ok := toMap(raw)
	if !ok {
		return nil, &Error{Want: want(p), Got: got(raw)}
	}
	for _, node := range slices.Sorted(maps.Keys(m)) {
		c, ok := toCost(m[node])
		if !ok {
			return nil, &Error{Param: "." + quoteIfNeeded(clip(node)), Want: wants[TypeCost], Got: got(m[node])}
		}
		m[node] = c
	}
	return m, nil
}

func toBool(raw any) (value, ok bool) {
	if b, isBool := raw.(bool); isBool {
		return b, true
	}
	s, _ := toText(raw)
	switch strings.ToLower(s) {
	case "1", "t", "y", "true", "yes", "on":
		return true, true
	case "0", "f", "n", "false", "no", "off":
		return false, true
	}
	return false, false
}

func toDuration(raw any) (string, bool) {
	s, _ := raw.(string)
	d, err := time.ParseDuration(s)
	return d.String(), err == nil && d >= 0
}

// toList makes a list of strings. As in legacy, text that is a JSON array is a
// list, other text is its one element.
func toList(raw any) ([]string, bool) {
	var list []any
	switch v := raw.(type) {
	case []any:
		list = v
	case string:
		if !strings.HasPrefix(strings.TrimSpace(v), "[") {
			return []string{v}, true
		}
		if decode(v, &list) != nil {
			return nil, false
		}
	default:
		list = []any{v}
	}
	texts := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := toText(e)
		if !ok {
			return nil, false
		}
		texts = append(texts, s)
	}
	return texts, true
}

func toMap(raw any) (map[string]any, bool) {
	if s, isText := raw.(string); isText {
		var m map[string]any
		err := decode(s, &m)
		return m, err == nil && m != nil
	}
	c, ok := plain(raw, 0)
	m, isMap := c.(map[string]any)
	return m, ok && isMap
}

// decode unmarshals text that is one JSON value and nothing else.
func decode(s string, v any) error { return json.Unmarshal([]byte(s), v) }

// maxDepth bounds the nesting of a map, which recursion follows.
const maxDepth = 32

// plain copies a value of any source into the types that JSON has, so that it
// can be marshalled and nobody else holds it.
func plain(raw any, depth int) (any, bool) {
	if depth > maxDepth {
		return nil, false
	}
	switch v := raw.(type) {
	case nil, bool, string, json.Number:
		return v, true
	case []any:
		list := make([]any, len(v))
		for i := range v {
			var ok bool
			if list[i], ok = plain(v[i], depth+1); !ok {
				return nil, false
			}
		}
		return list, true
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			var ok bool
			if m[key], ok = plain(value, depth+1); !ok {
				return nil, false
			}
		}
		return m, true
	case map[any]any: // as YAML has them
		m := make(map[string]any, len(v))
		for key, value := range v {
			name, ok := toText(key)
			if !ok {
				return nil, false
			}
			if m[name], ok = plain(value, depth+1); !ok {
				return nil, false
			}
		}
		return m, true
	default:
		_, f, _, ok := number(raw)
		return f, ok && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
}

// isAddress accepts host:port with a port that is a number or a service's name.
func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" || strings.ContainsFunc(host+port, notInName) || strings.Contains(host+port, " ") {
		return false
	}
	if n, err := strconv.ParseInt(port, 10, 64); err == nil {
		return 0 <= n && n <= math.MaxUint16
	}
	return unicode.IsLetter(rune(port[0]))
}

// isName accepts text that can stand in a log line and in a fixed field of a frame.
func isName(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, notInName)
}

func notInName(r rune) bool { return unicode.IsControl(r) }

// text renders a canonical value in one line.
func text(v any) string {
	if s, ok := toText(v); ok {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}
