package config

import (
	"bytes"
	"slices"
	"testing"

	"github.com/project-receptor/receptor/netceptor"
)

func TestFirewallRules(t *testing.T) {
	t.Parallel()
	want := []netceptor.FirewallRule{
		{Action: "REJECT", ToNode: "5", ToService: "ssh"},
		{Action: "accept", FromNode: "/a.*/", FromService: "true"},
	}
	inYAML := `
- node:
    id: n
    FirewallRules:
      - {Action: REJECT, ToNode: 5, toservice: ssh}
      - action: accept
        FROMNODE: /a.*/
        fromservice: on
`
	items, err := ParseYAML("n.yml", []byte(inYAML))
	if err != nil {
		t.Fatal(err)
	}
	for name, items := range map[string][]Item{
		"yaml":          items,
		"a JSON list":   commandLine(t, "--node", "id=n", `firewallrules=[{"action":"REJECT","tonode":5,"ToService":"ssh"},{"action":"accept","fromnode":"/a.*/","fromservice":true}]`),
		"repeated":      commandLine(t, "--node", "id=n", `firewallrules={"action":"REJECT","tonode":"5","toservice":"ssh"}`, `firewallrules={"action":"accept","fromnode":"/a.*/","fromservice":"true"}`),
		"handed over":   handedOver(t, items),
		"JSON in a map": {{Kind: "node", Params: map[string]any{"id": "n", "firewallrules": []any{`{"action":"REJECT","tonode":5,"toservice":"ssh"}`, map[string]any{"action": "accept", "fromnode": "/a.*/", "fromservice": true}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _, err := Split(items)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(c.Firewall, want) {
				t.Errorf("got %+v", c.Firewall)
			}
		})
	}
	c, _, err := Split(commandLine(t, "--node", "id=n", `firewallrules={"action":"drop"}`))
	if err != nil || len(c.Firewall) != 1 {
		t.Errorf("a single rule: %v, %v", c.Firewall, err)
	}
}

func commandLine(t *testing.T, args ...string) []Item {
	t.Helper()
	line, err := Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return line.Items
}

// handedOver are items as the launcher hands them to the core.
func handedOver(t *testing.T, items []Item) []Item {
	t.Helper()
	b, err := Encode(items)
	if err != nil {
		t.Fatal(err)
	}
	items, err = Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func TestFirewallMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ rules, want string }{
		"no list":            {`x`, `expected a list such as [{"action": "reject", "toservice": "ssh"}]: invalid character 'x' looking for beginning of value`},
		"no map":             {`[5]`, `rule 1: expected a map such as {"action": "reject", "toservice": "ssh"}, got 5`},
		"null":               {`[{"action":"drop"},null]`, `rule 2: expected a map such as {"action": "reject", "toservice": "ssh"}, got null`},
		"two in one":         {`["{\"action\":\"drop\"}{}"]`, `rule 1: expected a map such as {"action": "reject", "toservice": "ssh"}, got {"action":"drop"}{}`},
		"unknown key":        {`[{"action":"drop","node":"a"}]`, `rule 1: unknown key "node": expected action, fromnode, tonode, fromservice or toservice`},
		"no action":          {`[{"fromnode":"a"}]`, `rule 1: action: expected accept, reject or drop, got ""`},
		"unknown action":     {`[{"action":"deny"}]`, `rule 1: action: expected accept, reject or drop, got "deny"`},
		"empty condition":    {`[{"action":"drop","tonode":""}]`, `rule 1: tonode: is empty; leave it out for any name`},
		"no text":            {`[{"action":"drop","tonode":[]}]`, `rule 1: tonode: expected a text, got []`},
		"given twice":        {`[{"action":"drop","tonode":"a","ToNode":"b"}]`, `rule 1: tonode: is given twice`},
		"bad expression":     {`[{"action":"drop","tonode":"/(/"}]`, `rule 1: tonode: expected a regular expression between slashes, got one with missing closing ): "("`},
		"no second slash":    {`[{"action":"drop","tonode":"/a"}]`, `rule 1: tonode: expected a regular expression between slashes, got "/a" without the second one`},
		"a service too long": {`[{"action":"drop","toservice":"ninechars"}]`, `rule 1: toservice: service name "ninechars" is longer than 8 bytes`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Split([]Item{{Kind: "node", Label: "n.yml:1: node", Params: map[string]any{"id": "n", "firewallrules": tc.rules}}})
			equal(t, lines(t, err), []string{"n.yml:1: node: parameter firewallrules: " + tc.want})
		})
	}
	_, _, err := Split([]Item{{Kind: "node", Label: "node", Params: map[string]any{"id": "n", "firewallrules": `[{"fromnode":"/","action":"x"},{"a":1,"b":2}]`}}})
	equal(t, len(lines(t, err)), 4)
}
