package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// lines are the mistakes in err, one line each.
func lines(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("error is a %T, want Errors: %v", err, err)
	}
	var out []string
	for _, e := range errs {
		if strings.Contains(e.Error(), "\n") {
			t.Errorf("more than one line: %q", e)
		}
		out = append(out, e.Error())
	}
	return out
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n\t%#v\nwant\n\t%#v", got, want)
	}
}

type params = map[string]any

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		args  string // separated by single spaces
		items []Item
	}{
		{"nothing", "", nil},
		{
			"the README's example",
			"--node-id standalone --local-only --tcp-inbound-proxy port=1234 remotenode=standalone remoteservice=proxy --tcp-outbound-proxy address=localhost:4321 service=proxy",
			[]Item{
				{"node", params{"": "standalone"}, "node-id standalone"},
				{"local-only", params{}, "local-only"},
				{"tcp-inbound-proxy", params{"port": "1234", "remotenode": "standalone", "remoteservice": "proxy"}, "tcp-inbound-proxy port=1234 remotenode=standalone remoteservice=proxy"},
				{"tcp-outbound-proxy", params{"address": "localhost:4321", "service": "proxy"}, "tcp-outbound-proxy address=localhost:4321 service=proxy"},
			},
		},
		{"node-id of the first command lines", "--node-id=a", []Item{{"node", params{"": "a"}, "node-id a"}}},
		{"one dash and capitals", "-Node ID=A", []Item{{"node", params{"id": "A"}, "node ID=A"}}},
		{"a bare value", "--tcp-listener 2222 cost=1.5", []Item{{"tcp-listener", params{"": "2222", "cost": "1.5"}, "tcp-listener 2222 cost=1.5"}}},
		{"a bare value after an equals sign", "--log-level=debug", []Item{{"log-level", params{"": "debug"}, "log-level debug"}}},
		{"a repeated parameter", "--x p=1 P=2 p=3", []Item{{"x", params{"p": []any{"1", "2", "3"}}, "x p=1 P=2 p=3"}}},
		{"an equals sign in a value", "--x p=a=b", []Item{{"x", params{"p": "a=b"}, "x p=a=b"}}},
		{"an equals sign in a bare value", "--ws-peer ws://h/?a=b", []Item{{"ws-peer", params{"": "ws://h/?a=b"}, "ws-peer ws://h/?a=b"}}},
		{"an empty value", "--x p=", []Item{{"x", params{"p": ""}, "x p="}}},
		{"a kind of nobody's", "--serial-peer /dev/ttyS0", []Item{{"serial-peer", params{"": "/dev/ttyS0"}, "serial-peer /dev/ttyS0"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			line, err := Parse(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, line.Items, tt.items)
		})
	}
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	line, err := Parse(strings.Fields("--socket /a --log-json --x p=1 --SOCKET=/b"), Option{Name: "socket", Value: true}, Option{Name: "log-json"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, line.Options, map[string][]string{"socket": {"/a", "/b"}, "log-json": {""}})
	equal(t, line.Get("socket"), "/b")
	equal(t, line.Has("check"), false)
	equal(t, len(line.Items), 1)
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, args, want string }{
		{"a word before any flag", "node --local-only", `unexpected argument "node": expected --<kind> with parameters after it`},
		{"dashes alone", "-- x", `unexpected argument "--": expected the name of a kind after the dashes`},
		{"an option without its value", "--socket --local-only", `--socket takes one value, got ""`},
		{"an option with two values", "--config a.yml b.yml", `--config takes one value, got "a.yml b.yml"`},
		{"a value for a switch", "--log-json yes", `--log-json takes no value, got "yes"`},
		{"no such file", "-c /nowhere.yml", `read configuration: open /nowhere.yml: no such file or directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(strings.Fields(tt.args), Option{Name: "socket", Value: true}, Option{Name: "log-json"})
			got := lines(t, err)
			if len(got) == 0 || got[0] != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseMixesFilesAndFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yml")
	write(t, a, "- node: {id: n}\n- tcp-listener: {port: 1}\n")
	write(t, b, "- tcp-peer: {address: h:1}\n")
	line, err := Parse([]string{"-c", a, "--trace", "--config", b, "--local-only"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, i := range line.Items {
		kinds = append(kinds, i.Kind)
	}
	equal(t, kinds, []string{"node", "tcp-listener", "trace", "tcp-peer", "local-only"})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	items, err := ParseYAML("n.yml", []byte("- x: {a: 9007199254740993, b: [1, {c: ~}], d: 1.5, e: .nan, y: 1}\n- z\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Encode(items)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(back)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, string(again), string(b))
	equal(t, items[0].Params["y"], any(1))
	if !strings.Contains(string(b), "9007199254740993") {
		t.Errorf("digits were lost: %s", b)
	}
	if _, err := Decode(strings.NewReader(`[{"kind":"x","parms":{}}]`)); err == nil {
		t.Error("an unknown field was accepted")
	}
	if _, err := Decode(strings.NewReader(strings.Repeat(" ", MaxSize+1))); err == nil {
		t.Error("too much was accepted")
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(file, yaml string) string {
		t.Helper()
		items, err := ParseYAML(file, []byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		d, err := Digest(items)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Encode(items)
		if err != nil {
			t.Fatal(err)
		}
		if items, err = Decode(strings.NewReader(string(b))); err != nil {
			t.Fatal(err)
		}
		handed, err := Digest(items)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, handed, d)
		return d
	}
	want := digest("n.yml", "- x: {a: 1, b: 2.0, c: [yes, z]}\n- z\n")
	for _, same := range []string{
		"- x: {a: 1, b: 2.0, c: [yes, z]}\n- z\n",
		"# a comment\n- x:\n    c: [true, z]\n    b: 2.0\n    a: 1\n- z\n",
	} {
		equal(t, digest("m.yml", same), want)
	}
	for _, other := range []string{
		"- z\n- x: {a: 1, b: 2.0, c: [yes, z]}\n", // the order of a list counts, as it does for items
		"- x: {a: 2, b: 2.0, c: [yes, z]}\n- z\n",
		"- x: {a: 1, b: 2.0, c: [yes, z]}\n",
	} {
		if digest("n.yml", other) == want {
			t.Errorf("the same digest: %s", other)
		}
	}
}
