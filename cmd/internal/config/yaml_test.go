package config

import (
	"testing"
)

func TestParseYAML(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, yaml string
		items      []Item
	}{
		{"empty", "", nil},
		{"a document of nothing", "---\n", nil},
		{"an empty list", "[]", nil},
		{"the form of version 1", `---
- node:
    id: foo
- log-level: debug
- tcp-listener:
    Port: 2222
    nodecost: {bar: 2.5}

- tcp-peer:
    address: bar:2222
    redial: no
- local-only
- control-service:
- unix-socket-server: {permissions: 0640, allowedpeers: [a, b]}
- tcp-listener: 2223
`, []Item{
			{"node", params{"id": "foo"}, "n.yml:2: node"},
			{"log-level", params{"": "debug"}, "n.yml:4: log-level"},
			{"tcp-listener", params{"port": 2222, "nodecost": params{"bar": 2.5}}, "n.yml:5: tcp-listener"},
			{"tcp-peer", params{"address": "bar:2222", "redial": false}, "n.yml:9: tcp-peer"},
			{"local-only", params{}, "n.yml:12: local-only"},
			{"control-service", params{}, "n.yml:13: control-service"},
			{"unix-socket-server", params{"permissions": 0o640, "allowedpeers": []any{"a", "b"}}, "n.yml:14: unix-socket-server"},
			{"tcp-listener", params{"": 2223}, "n.yml:15: tcp-listener"},
		}},
		{"the form of version 2", `version: 2
node:
  id: foo
local-only: {local: true}
log-level:
  level: info
tcp-listeners:
  - port: 1
  - port: 2
iprouters:
  - networkname: net
work-kubernetes:
  - worktype: w
serial-peers:
  - device: /dev/ttyS0
`, []Item{
			{"node", params{"id": "foo"}, "n.yml:3: node"},
			{"local-only", params{"local": true}, "n.yml:4: local-only"},
			{"log-level", params{"level": "info"}, "n.yml:6: log-level"},
			{"tcp-listener", params{"port": 1}, "n.yml:8: tcp-listener"},
			{"tcp-listener", params{"port": 2}, "n.yml:9: tcp-listener"},
			{"ip-router", params{"networkname": "net"}, "n.yml:11: ip-router"},
			{"work-kubernetes", params{"worktype": "w"}, "n.yml:13: work-kubernetes"},
			{"serial-peer", params{"device": "/dev/ttyS0"}, "n.yml:15: serial-peer"},
		}},
		{"anchors", "- tcp-listener: &a {port: 1}\n- tcp-listener: *a\n", []Item{
			{"tcp-listener", params{"port": 1}, "n.yml:1: tcp-listener"},
			{"tcp-listener", params{"port": 1}, "n.yml:2: tcp-listener"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			items, err := ParseYAML("n.yml", []byte(tt.yaml))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, items, tt.items)
		})
	}
}

func TestParseYAMLErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{"not YAML", "- a\n- b: [1\n- c\n", []string{"n.yml:3: did not find expected ',' or ']'"}},
		{"a tab", "- node:\n\tid: a\n", []string{"n.yml:2: found character that cannot start any token"}},
		{"a key twice", "- node:\n    id: a\n    id: b\n", []string{`n.yml:3: key "id" already set in map`}},
		{"two documents", "- a\n---\n- b\n", []string{"n.yml: more than one YAML document"}},
		{"a text", "hello", []string{"n.yml:1: expected a list of items, got hello"}},
		{"two kinds in one item", "- local-only\n- node:\n  id: a\n", []string{"n.yml:2: expected one kind an item, got 2: node, id (is the indentation right?)"}},
		{"an empty item", "- a\n-\n", []string{"n.yml: item 2 is empty"}},
		{"a number for an item", "- 5\n", []string{"n.yml:1: expected the name of a kind, or a map of one kind to its parameters, got 5"}},
		{"a list for parameters", "- node: [a]\n", []string{"n.yml:1: node: expected parameters, got a list"}},
		{"another version", "version: 3\nnode: {id: a}\n", []string{"n.yml:1: version: expected 2, got 3"}},
		{"several", "- 5\n- node: [a]\n- a: {}\n  b: {}\n", []string{
			"n.yml:1: expected the name of a kind, or a map of one kind to its parameters, got 5",
			"n.yml:2: node: expected parameters, got a list",
			"n.yml:3: expected one kind an item, got 2: a, b (is the indentation right?)",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseYAML("n.yml", []byte(tt.yaml))
			equal(t, lines(t, err), tt.want)
		})
	}
}

func FuzzParseYAML(f *testing.F) {
	for _, s := range []string{"", "- a\n- b: c\n- d: {e: [f]}", "version: 2\na: {b: c}\nds:\n - e: f\n", "- &a [*a]", "- ? {a: b}\n  : c", "- !!binary aGk="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := ParseYAML("n.yml", b)
		if err != nil {
			lines(t, err)
		}
		for _, i := range items {
			if i.Label == "" || i.Params == nil {
				t.Errorf("item without label or parameters: %#v", i)
			}
		}
		if _, err := Encode(items); err != nil {
			t.Error(err)
		}
	})
}
