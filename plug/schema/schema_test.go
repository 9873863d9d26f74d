package schema

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/plug/wire"
)

func listener() *wire.Kind {
	return &wire.Kind{
		Kind:    "tcp-listener",
		Role:    wire.RoleLink,
		Aliases: []wire.Alias{{Kind: "tcp-inbound", Defaults: map[string]any{"bindaddr": "localhost"}}},
		Params: []wire.Param{
			{Name: "port", Type: TypePort, Key: true, Required: true, Bare: true},
			{Name: "bindaddr", Type: TypeString, Key: true, Default: "0.0.0.0"},
			{Name: "cost", Type: TypeCost, Default: 1},
			{Name: "nodecost", Type: TypeCosts},
			{Name: "allowedpeers", Type: TypeList},
		},
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		alias string
		raw   map[string]any
		want  Values
	}{
		"from flags": {
			raw: map[string]any{"port": "0x10", "cost": "2.5", "nodecost": `{"b":3}`, "allowedpeers": []any{"a", "b"}},
			want: Values{
				"port": int64(16), "bindaddr": "0.0.0.0", "cost": 2.5,
				"nodecost": map[string]any{"b": 3.0}, "allowedpeers": []string{"a", "b"},
			},
		},
		"from YAML": {
			raw: map[string]any{"port": 2222, "cost": 2, "nodecost": map[any]any{"b": 1.5, 7: "2"}, "allowedpeers": []any{"a", 5, true}},
			want: Values{
				"port": int64(2222), "bindaddr": "0.0.0.0", "cost": 2.0,
				"nodecost": map[string]any{"b": 1.5, "7": 2.0}, "allowedpeers": []string{"a", "5", "true"},
			},
		},
		"any letter case":                      {raw: map[string]any{"PoRt": "1"}, want: Values{"port": int64(1), "bindaddr": "0.0.0.0", "cost": 1.0}},
		"a bare value":                         {raw: map[string]any{Bare: "2222"}, want: Values{"port": int64(2222), "bindaddr": "0.0.0.0", "cost": 1.0}},
		"nil is not given":                     {raw: map[string]any{"port": 1, "bindaddr": nil, "nodecost": nil}, want: Values{"port": int64(1), "bindaddr": "0.0.0.0", "cost": 1.0}},
		"an alias's default":                   {alias: "TCP-Inbound", raw: map[string]any{"port": 1}, want: Values{"port": int64(1), "bindaddr": "localhost", "cost": 1.0}},
		"an alias's default is only a default": {alias: "tcp-inbound", raw: map[string]any{"port": 1, "bindaddr": "::"}, want: Values{"port": int64(1), "bindaddr": "::", "cost": 1.0}},
		"a list twice by letter case":          {raw: map[string]any{"port": 1, "AllowedPeers": "a", "allowedpeers": []any{"b"}}, want: Values{"port": int64(1), "bindaddr": "0.0.0.0", "cost": 1.0, "allowedpeers": []string{"a", "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alias := tc.alias
			if alias == "" {
				alias = "tcp-listener"
			}
			v, errs := Check(listener(), alias, "label", tc.raw)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if !reflect.DeepEqual(v, tc.want) {
				t.Fatalf("got %#v, want %#v", v, tc.want)
			}
		})
	}
}

// What CONFIG carries is checked again by whoever wants to: nothing changes.
func TestCheckRoundTrip(t *testing.T) {
	t.Parallel()
	k := listener()
	k.Params = append(k.Params,
		wire.Param{Name: "timeout", Type: TypeDuration}, wire.Param{Name: "size", Type: TypeInt},
		wire.Param{Name: "deep", Type: TypeMap}, wire.Param{Name: "to", Type: TypeAddress, Repeat: true}, wire.Param{Name: "on", Type: TypeBool})
	first, errs := Check(k, k.Kind, "label", map[string]any{
		"port": "1", "nodecost": `{"a":1e3}`, "timeout": "90s", "size": "-0600", "on": "Y",
		"deep": map[any]any{"x": []any{1, "y", map[any]any{true: nil}}}, "to": []any{"a:1", "[::1]:http"}, "allowedpeers": `["a","b"]`,
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	wire, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"allowedpeers":["a","b"],"bindaddr":"0.0.0.0","cost":1,"deep":{"x":[1,"y",{"true":null}]},"nodecost":{"a":1000},"on":true,"port":1,"size":-384,"timeout":"1m30s","to":["a:1","[::1]:http"]}`
	if string(wire) != want {
		t.Errorf("got  %s\nwant %s", wire, want)
	}
	var raw map[string]any
	if err := json.Unmarshal(wire, &raw); err != nil {
		t.Fatal(err)
	}
	second, errs := Check(k, k.Kind, "label", raw)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if !reflect.DeepEqual(first, second) {
		t.Fatalf("got %#v, then %#v", first, second)
	}
}

func TestCheckErrors(t *testing.T) {
	t.Parallel()
	const takes = "tcp-listener takes port, bindaddr, cost, nodecost, allowedpeers"
	for name, tc := range map[string]struct {
		raw  map[string]any
		want []string
	}{
		"required":               {map[string]any{}, []string{"item: parameter port is required: expected a number from 0 to 65535"}},
		"not a number":           {map[string]any{"port": "x"}, []string{`item: parameter port: expected a number from 0 to 65535, got "x"`}},
		"names as written":       {map[string]any{"PORT": 70000}, []string{`item: parameter PORT: expected a number from 0 to 65535, got 70000`}},
		"empty":                  {map[string]any{"port": ""}, []string{`item: parameter port: expected a number from 0 to 65535, got ""`}},
		"given twice":            {map[string]any{"port": []any{"1", "2"}}, []string{"item: parameter port: expected a number from 0 to 65535, got 2 values"}},
		"twice by letter case":   {map[string]any{"port": 1, "Port": "2"}, []string{`item: parameter port is given twice: "2" and 1`}},
		"twice, one bare":        {map[string]any{"port": 1, Bare: "2"}, []string{`item: parameter port is given twice: "2" and 1`}},
		"a slip, not a lack":     {map[string]any{"prot": 2}, []string{"item: unknown parameter prot; did you mean port? " + takes}},
		"unknown, near":          {map[string]any{"port": 1, "prot": 2}, []string{"item: unknown parameter prot; did you mean port? " + takes}},
		"unknown, far":           {map[string]any{"port": 1, "colour": 2}, []string{"item: unknown parameter colour; " + takes}},
		"unknown with new lines": {map[string]any{"port": 1, "a\nb": 2}, []string{`item: unknown parameter "a\nb"; ` + takes}},
		"a cost of nought":       {map[string]any{"port": 1, "cost": 0}, []string{"item: parameter cost: expected a number above 0, at most 1e9, got 0"}},
		"a cost without bound":   {map[string]any{"port": 1, "cost": "inf"}, []string{`item: parameter cost: expected a number above 0, at most 1e9, got "inf"`}},
		"one node's cost":        {map[string]any{"port": 1, "nodecost": map[any]any{"a": 1, "b": -1}}, []string{"item: parameter nodecost.b: expected a number above 0, at most 1e9, got -1"}},
		"a list for a text":      {map[string]any{"port": 1, "bindaddr": []any{"x"}}, []string{"item: parameter bindaddr: expected text, got a list"}},
		"all of them":            {map[string]any{"cost": "no", "zzz": 1}, []string{"item: unknown parameter zzz; " + takes, "item: parameter port is required: expected a number from 0 to 65535", `item: parameter cost: expected a number above 0, at most 1e9, got "no"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, errs := Check(listener(), "tcp-listener", "item", tc.raw)
			if v != nil {
				t.Errorf("got values %v with errors", v)
			}
			var got []string
			for _, err := range errs {
				got = append(got, err.Error())
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Fatalf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tc.want, "\n     "))
			}
		})
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		typ  string
		raw  any
		want any // nil: refused
	}{
		{TypeString, 5, "5"},
		{TypeString, true, "true"},
		{TypeString, 1.5, "1.5"},
		{TypeString, uint64(1 << 63), "9223372036854775808"},
		{TypeString, map[string]any{}, nil},
		{TypeInt, "0600", int64(384)},
		{TypeInt, 5.0, int64(5)},
		{TypeInt, 5.5, nil},
		{TypeInt, uint64(1 << 63), nil},
		{TypeInt, "", nil},
		{TypeInt, true, nil},
		{TypePort, 0, int64(0)},
		{TypePort, "65535", int64(65535)},
		{TypePort, -1, nil},
		{TypePort, "65536", nil},
		{TypeFloat, "1e3", 1000.0},
		{TypeFloat, 2, 2.0},
		{TypeFloat, "nan", nil},
		{TypeCost, MaxCost, MaxCost},
		{TypeCost, 1.1e9, nil},
		{TypeCost, "-1", nil},
		{TypeBool, "1", true},
		{TypeBool, "Yes", true},
		{TypeBool, "T", true},
		{TypeBool, "f", false},
		{TypeBool, "NO", false},
		{TypeBool, 0, false},
		{TypeBool, "maybe", nil},
		{TypeBool, 2, nil},
		{TypeDuration, "1h", "1h0m0s"},
		{TypeDuration, "-1s", nil},
		{TypeDuration, "10", nil},
		{TypeDuration, 10, nil},
		{TypeList, "a", []string{"a"}},
		{TypeList, `["a", 1]`, []string{"a", "1"}},
		{TypeList, `["a"`, nil},
		{TypeList, []any{[]any{}}, nil},
		{TypeList, 5, []string{"5"}},
		{TypeMap, `{"a":1}`, map[string]any{"a": 1.0}},
		{TypeMap, `null`, nil},
		{TypeMap, `[]`, nil},
		{TypeMap, map[any]any{1: 2}, map[string]any{"1": 2.0}},
		{TypeAddress, "a:1", "a:1"},
		{TypeAddress, "[::1]:80", "[::1]:80"},
		{TypeAddress, ":http", ":http"},
		{TypeAddress, "a", nil},
		{TypeAddress, "a:", nil},
		{TypeAddress, "a:65536", nil},
		{TypeAddress, "::1:80", nil},
		{TypeAddress, "a:-1", nil},
		{TypeAddress, "a b:1", nil},
		{TypePath, "/x", "/x"},
		{TypePath, "", nil},
		{TypePath, "a\x00", nil},
		{TypeService, "eight888", "eight888"},
		{TypeService, "nine99999", nil},
		{TypeService, "", nil},
		{TypeService, 80, "80"},
		{TypeNode, "a.b", "a.b"},
		{TypeNode, "a\n", nil},
		{"new", "x", nil},
	} {
		c, bad := canonical(&wire.Param{Name: "p", Type: tc.typ}, tc.raw)
		if bad == nil && !reflect.DeepEqual(c, tc.want) || bad != nil && tc.want != nil {
			t.Errorf("%s of %#v: got %#v (%v), want %#v", tc.typ, tc.raw, c, bad, tc.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		v    Values
		want string
	}{
		"a default is left out":  {Values{"port": int64(1), "bindaddr": "0.0.0.0", "cost": 2.0}, "tcp-listener port=1"},
		"another value is named": {Values{"port": int64(1), "bindaddr": "::"}, "tcp-listener port=1 bindaddr=::"},
		"one line":               {Values{"port": int64(1), "bindaddr": "a b\n"}, `tcp-listener port=1 bindaddr="a b\n"`},
	} {
		if got := Identity(listener(), tc.v); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	kinds := []wire.Kind{{Kind: "other"}, *listener()}
	for _, name := range []string{"tcp-listener", "TCP-LISTENER", "Tcp-Inbound"} {
		if k := Find(kinds, name); k == nil || k.Kind != "tcp-listener" {
			t.Errorf("Find(%q) = %v", name, k)
		}
	}
	if k := Find(kinds, "tcp"); k != nil {
		t.Errorf("Find(tcp) = %v", k)
	}
}

func TestCheckKind(t *testing.T) {
	t.Parallel()
	if err := CheckKind(listener()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		spoil func(*wire.Kind)
		want  string
	}{
		"name":             {func(k *wire.Kind) { k.Kind = "A\n" }, `kind "A\n": a name`},
		"parameter's name": {func(k *wire.Kind) { k.Params[0].Name = "" }, `parameter "": a name`},
		"type":             {func(k *wire.Kind) { k.Params[0].Type = "prt" }, "parameter port: type prt is none of"},
		"twice":            {func(k *wire.Kind) { k.Params[1].Name = "port" }, "described twice"},
		"TLS of a text":    {func(k *wire.Kind) { k.Params[1].TLS = wire.TLSCore }, "tls goes with the types"},
		"TLS of nobody":    {func(k *wire.Kind) { k.Params[1].Type = TypeTLSServer }, "tls goes with the types"},
		"TLS of somebody":  {func(k *wire.Kind) { k.Params[1].TLS = "kernel" }, "expected core or plug"},
		"TLS as identity": {func(k *wire.Kind) {
			k.Params[1].Type, k.Params[1].TLS, k.Params[1].Key = TypeTLSClient, wire.TLSCore, true
		}, "no part of an item's identity"},
		"two bare":           {func(k *wire.Kind) { k.Params[1].Bare = true }, "only one can be the bare one"},
		"default":            {func(k *wire.Kind) { k.Params[2].Default = "x" }, "default of parameter cost"},
		"alias":              {func(k *wire.Kind) { k.Aliases[0].Kind = "-" }, "is not a name of a kind"},
		"alias's parameter":  {func(k *wire.Kind) { k.Aliases[0].Defaults = map[string]any{"x": 1} }, "which the kind lacks"},
		"alias's default":    {func(k *wire.Kind) { k.Aliases[0].Defaults = map[string]any{"port": "x"} }, "default of parameter port"},
		"too many parameter": {func(k *wire.Kind) { k.Params = make([]wire.Param, maxParams+1) }, "at most 64 parameters"},
	} {
		k := listener()
		tc.spoil(k)
		if err := CheckKind(k); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
}

// Whatever is written, there is an answer of one line, and what passes can be
// sent.
func FuzzCheck(f *testing.F) {
	f.Add("port", "1", "cost", "2")
	f.Add("nodecost", `{"a":{"b":[1]}}`, "", "x")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		k := listener()
		k.Params = append(k.Params, wire.Param{Name: "m", Type: TypeMap}, wire.Param{Name: "a", Type: TypeAddress})
		v, errs := Check(k, k.Kind, "item", map[string]any{n1: v1, n2: v2})
		for _, err := range errs {
			if s := err.Error(); strings.ContainsAny(s, "\n\r") || len(s) > 1000 {
				t.Fatalf("error %q", s)
			}
		}
		if _, err := json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	})
}
