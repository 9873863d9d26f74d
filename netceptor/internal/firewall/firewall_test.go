package firewall

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// table is the names of nodes by hash.
type table map[uint64]string

func (t table) Name(node uint64) string { return t[node] }

// nodes makes a table of these names.
func nodes(names ...string) table {
	t := table{}
	for _, n := range names {
		t[wire.NodeHash(n)] = n
	}
	return t
}

// key is the key of a message between these.
func key(t testing.TB, f Flow) Key {
	t.Helper()
	h := wire.Header{From: wire.NodeHash(f.FromNode), To: wire.NodeHash(f.ToNode)}
	var err1, err2 error
	h.FromService, err1 = wire.ParseService(f.FromService)
	h.ToService, err2 = wire.ParseService(f.ToService)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return KeyOf(h.Append(nil))
}

func compileRules(t testing.TB, rules ...Rule) *Firewall {
	t.Helper()
	f, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRules(t *testing.T) {
	t.Parallel()
	flow := Flow{"a", "beta", "x1", "web"}
	for name, tc := range map[string]struct {
		rules []Rule
		flow  Flow
		want  Verdict
	}{
		"no rules":                      {nil, flow, Verdict{Accept, Default}},
		"no condition":                  {[]Rule{{Action: "drop"}}, flow, Verdict{Drop, 0}},
		"one that holds":                {[]Rule{{ToService: "web", Action: "reject"}}, flow, Verdict{Reject, 0}},
		"one that does not":             {[]Rule{{ToService: "we", Action: "reject"}}, flow, Verdict{Accept, Default}},
		"letter case of the action":     {[]Rule{{Action: "ReJect"}}, flow, Verdict{Reject, 0}},
		"letter case of a name":         {[]Rule{{ToNode: "Beta", Action: "reject"}}, flow, Verdict{Accept, Default}},
		"the first decides":             {[]Rule{{FromNode: "a", Action: "accept"}, {ToService: "web", Action: "drop"}}, flow, Verdict{Accept, 0}},
		"the second, not the third":     {[]Rule{{FromNode: "b", Action: "accept"}, {ToNode: "beta", Action: "drop"}, {Action: "reject"}}, flow, Verdict{Drop, 1}},
		"all conditions must hold":      {[]Rule{{"a", "beta", "x1", "ssh", "drop"}, {"a", "beta", "x1", "web", "reject"}}, flow, Verdict{Reject, 1}},
		"direction":                     {[]Rule{{FromService: "web", Action: "drop"}}, flow, Verdict{Accept, Default}},
		"expression":                    {[]Rule{{ToNode: "/b.*a/", Action: "drop"}}, flow, Verdict{Drop, 0}},
		"expression of the whole name":  {[]Rule{{ToNode: "/et/", Action: "drop"}}, flow, Verdict{Accept, Default}},
		"expression without grouping":   {[]Rule{{ToNode: "/be|x/", Action: "drop"}}, flow, Verdict{Drop, 0}},
		"grouped":                       {[]Rule{{ToNode: "/(be|x)/", Action: "drop"}}, flow, Verdict{Accept, Default}},
		"expression and exact":          {[]Rule{{ToService: "/w.b/", FromNode: "b", Action: "drop"}, {ToService: "web", FromNode: "/./", Action: "reject"}}, flow, Verdict{Reject, 1}},
		"empty expression":              {[]Rule{{ToService: "//", Action: "drop"}}, flow, Verdict{Accept, Default}},
		"empty expression, empty name":  {[]Rule{{ToService: "//", Action: "drop"}}, Flow{"a", "beta", "", ""}, Verdict{Drop, 0}},
		"slash within an exact name":    {[]Rule{{ToService: "a/b", Action: "drop"}}, Flow{"a", "beta", "", "a/b"}, Verdict{Drop, 0}},
		"one expression in two rules":   {[]Rule{{ToNode: "/b.*/", FromNode: "z", Action: "drop"}, {ToNode: "/b.*/", Action: "reject"}}, flow, Verdict{Reject, 1}},
		"expression that rejects a dot": {[]Rule{{ToNode: `/b\.ta/`, Action: "drop"}}, flow, Verdict{Accept, Default}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := compileRules(t, tc.rules...)
			if got := f.Explain(tc.flow); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			if f == nil {
				return
			}
			names := nodes(tc.flow.FromNode, tc.flow.ToNode)
			for range 2 { // worked out, and remembered
				if got := f.Decide(key(t, tc.flow), names, 1); got != tc.want {
					t.Errorf("%+v, want %+v", got, tc.want)
				}
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rule Rule
		want string
	}{
		"no action":          {Rule{FromNode: "a"}, `action: expected accept, reject or drop, got ""`},
		"unknown action":     {Rule{Action: "deny"}, `action: expected accept, reject or drop, got "deny"`},
		"no second slash":    {Rule{ToNode: "/a.*", Action: "drop"}, `tonode: expected a regular expression between slashes, got "/a.*" without the second one`},
		"one slash":          {Rule{ToNode: "/", Action: "drop"}, `tonode: expected a regular expression between slashes, got "/" without the second one`},
		"bad expression":     {Rule{FromService: "/a(/", Action: "drop"}, "fromservice: expected a regular expression between slashes, got one with missing closing ): \"a(\""},
		"escaped end":        {Rule{FromService: `/a\/`, Action: "drop"}, "fromservice: expected a regular expression between slashes, got one with trailing backslash at end of expression: \"\""},
		"closes and opens":   {Rule{FromService: `/a)(b/`, Action: "drop"}, "fromservice: expected a regular expression between slashes, got one with unexpected ): \"a)(b\""},
		"long service":       {Rule{ToService: "ninechars", Action: "drop"}, `toservice: service name "ninechars" is longer than 8 bytes`},
		"localhost":          {Rule{FromNode: "LocalHost", Action: "drop"}, `fromnode: node ID "LocalHost" is reserved`},
		"two":                {Rule{FromNode: "/", Action: "x"}, "action: expected accept, reject or drop, got \"x\"\nfromnode: expected a regular expression between slashes, got \"/\" without the second one"},
		"right":              {Rule{FromNode: "/a|b/", ToService: "ssh", Action: "DROP"}, ""},
		"nothing but action": {Rule{Action: "accept"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := tc.rule.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if _, err := Compile([]Rule{{Action: "drop"}, tc.rule}); (err != nil) != (tc.want != "") || err != nil && err.Error() != "[1]: "+tc.want {
				t.Errorf("compile: %v", err)
			}
		})
	}
	if _, err := Compile(make([]Rule, MaxRules+1)); err == nil || err.Error() != "4097 rules are more than 4096" {
		t.Errorf("too many rules: %v", err)
	}
}

func TestWarning(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]bool{
		"/a|b/": true, "/(a|b)/": false, "/foo|bar/": true, "/ab?[|]c/": false, `/a\|b/`: false, "/.*/": false, "a|b": false, "": false,
	} {
		r := Rule{ToService: "x", FromNode: condition, Action: "drop"}
		if got := r.Warning(); (got != "") != want {
			t.Errorf("%s: warning %q", condition, got)
		}
	}
	r := Rule{ToService: "/a|b/", Action: "drop"}
	if got, want := r.Warning(), "toservice: /a|b/ is read as ^a|b$, as ever; write /(a|b)/ if all of it is to match the whole name"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// holds tells whether a rule holds, as the description says it, word for word.
// compiled keeps its expressions.
func holds(r Rule, f Flow, compiled map[string]*regexp.Regexp) bool {
	for _, c := range [][2]string{{r.FromNode, f.FromNode}, {r.ToNode, f.ToNode}, {r.FromService, f.FromService}, {r.ToService, f.ToService}} {
		condition, name := c[0], c[1]
		switch {
		case condition == "":
		case strings.HasPrefix(condition, "/"):
			re, ok := compiled[condition]
			if !ok {
				re = regexp.MustCompile("^" + condition[1:len(condition)-1] + "$")
				compiled[condition] = re
			}
			if !re.MatchString(name) {
				return false
			}
		case condition != name:
			return false
		}
	}
	return true
}

// Many rules, many flows, more than are remembered: the decisions are those of
// rules tried one after the other.
func TestAsTriedInTurn(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	var rules []Rule
	for range 150 {
		rules = append(rules, Rule{
			FromNode: pick("", "", "n1", "n2", "/n[3-7]/", "/n1.*/", "n30"), ToNode: pick("", "", "n1", "/.*5/", "n8", "/n2|n9/"),
			FromService: pick("", "s1", "/s.*7/", "/(s1|s2)./"), ToService: pick("s1", "s2", "/s[0-9]/", "s77", "/.*3/"),
			Action: pick("accept", "reject", "drop"),
		})
	}
	f := compileRules(t, rules...)
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprintf("n%d", i))
	}
	names := nodes(all...)
	compiled := map[string]*regexp.Regexp{}
	for range 10000 {
		flow := Flow{pick(all...), pick(all...), fmt.Sprintf("s%d", r.IntN(100)), fmt.Sprintf("s%d", r.IntN(3000))}
		want := Verdict{Accept, Default}
		for i, rule := range rules {
			if holds(rule, flow, compiled) {
				want.Rule = i
				want.Action, _ = parseAction(rule.Action)
				break
			}
		}
		if got := f.Decide(key(t, flow), names, 1); got != want {
			t.Fatalf("%+v: %+v, want %+v (%v)", flow, got, want, rules[max(want.Rule, 0)])
		}
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	f := compileRules(t, Rule{ToService: "ssh", Action: "drop"}, Rule{FromNode: "b", Action: "reject"})
	names := nodes("a", "b")
	for _, d := range []struct {
		flow     Flow
		messages int
	}{{Flow{"b", "a", "x", "ssh"}, 3}, {Flow{"b", "a", "x", "web"}, 1}, {Flow{"a", "b", "x", "web"}, 40}, {Flow{"a", "b", "x", "ssh"}, 1}} {
		f.Decide(key(t, d.flow), names, d.messages)
		f.Explain(d.flow)
	}
	rules, undecided := f.Status()
	if len(rules) != 2 || rules[0].Messages != 4 || rules[1].Messages != 1 || undecided != 40 {
		t.Errorf("%+v, undecided %d", rules, undecided)
	}
	if got, want := rules[0].Rule.String(), "drop toservice=ssh"; got != want {
		t.Errorf("rule %q, want %q", got, want)
	}
}

// When a hash stands for another name, decisions are made anew.
func TestForget(t *testing.T) {
	t.Parallel()
	f := compileRules(t, Rule{FromNode: "a", Action: "drop"})
	k := key(t, Flow{"a", "b", "x", "y"})
	names := nodes("a", "b")
	if got := f.Decide(k, names, 1); got.Action != Drop {
		t.Errorf("%+v", got)
	}
	names[wire.NodeHash("a")] = "c"
	if got := f.Decide(k, names, 1); got.Action != Drop {
		t.Errorf("not remembered: %+v", got)
	}
	f.Forget()
	if got := f.Decide(k, names, 1); got.Action != Accept {
		t.Errorf("not forgotten: %+v", got)
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	f := compileRules(t, Rule{ToService: "/s.*1/", Action: "drop"}, Rule{FromService: "/.*2/", Action: "reject"})
	names := nodes("a", "b")
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 5000 {
				flow := Flow{"a", "b", fmt.Sprint(i % 7), fmt.Sprintf("s%d", (i+g)%5000)}
				got := f.Decide(key(t, flow), names, 1)
				if want := f.Explain(flow); got != want {
					t.Errorf("%+v: %+v, want %+v", flow, got, want)
					return
				}
				if i == 2500 {
					f.Forget()
				}
			}
		})
	}
	all.Wait()
}

// What is remembered has a bound.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory[string, int](64)
	for i := range 10000 {
		m.put(fmt.Sprint(i), i)
		if v, ok := m.get(fmt.Sprint(i)); !ok || v != i {
			t.Fatalf("%d is not remembered: %d, %v", i, v, ok)
		}
	}
	left := 0
	for i := range 10000 {
		if v, ok := m.get(fmt.Sprint(i)); ok {
			left++
			if v != i {
				t.Errorf("%d is remembered as %d", i, v)
			}
		}
	}
	if left != 64 {
		t.Errorf("%d are remembered, want 64", left)
	}
}

func TestDecideAllocs(t *testing.T) {
	f := compileRules(t, Rule{ToService: "/s.*1/", Action: "drop"}, Rule{ToNode: "b", Action: "reject"})
	names := nodes("a", "b")
	k := key(t, Flow{"a", "b", "x", "web"})
	if n := testing.AllocsPerRun(100, func() {
		if v := f.Decide(k, names, 1); v.Action != Reject {
			t.Fatal(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a known flow, want none", n)
	}
}

// Whatever a rule says, it is a mistake that is told, or decides as the description
// says it, for any names.
func FuzzRule(f *testing.F) {
	f.Add("alpha", "/a|b/", "/.*/", "web", "alpha", "beta", "Ab3dEf7h", "web")
	f.Add("", "/", "//", "a/b", "a", "b", "", "a/b")
	f.Add("/(?i)A+/", "/a\\/", "/\\Qa/", "/[[:alpha:]]/", "aA", "b", "\x00x", "z")
	f.Fuzz(func(t *testing.T, fromNode, toNode, fromService, toService, n1, n2, s1, s2 string) {
		if len(fromNode)+len(toNode)+len(fromService)+len(toService) > 64 {
			return // repetitions in a long expression may cost seconds
		}
		r := Rule{fromNode, toNode, fromService, toService, "drop"}
		w, err := Compile([]Rule{r})
		_ = r.Warning()
		if (err != nil) != (r.Validate() != nil) {
			t.Fatalf("compile says %v, validate %v", err, r.Validate())
		}
		if err != nil {
			return
		}
		flow := Flow{n1, n2, s1, s2}
		want := Verdict{Accept, Default}
		if holds(r, flow, map[string]*regexp.Regexp{}) {
			want = Verdict{Drop, 0}
		}
		if got := w.Explain(flow); got != want {
			t.Errorf("%v of %+v: %+v, want %+v", r, flow, got, want)
		}
		if len(s1) > 8 || len(s2) > 8 || strings.HasSuffix(s1, "\x00") || strings.HasSuffix(s2, "\x00") {
			return // no names of services
		}
		for range 2 {
			if got := w.Decide(key(t, flow), nodes(n1, n2), 1); got != want {
				t.Errorf("%v of %+v: %+v, want %+v", r, flow, got, want)
			}
		}
	})
}

// BenchmarkDecide decides about flows that are known, and about ones of which
// each has a new source service.
func BenchmarkDecide(b *testing.B) {
	var rules []Rule
	for i := range 100 {
		rules = append(rules, Rule{FromNode: fmt.Sprintf("n%d", i), ToService: fmt.Sprintf("/s%d.*/", i%10), Action: "drop"})
	}
	f := compileRules(b, rules...)
	names := nodes("a", "b")
	k := key(b, Flow{"a", "b", "x", "web"})
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.Decide(k, names, 1)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		k := k
		for i := uint64(0); b.Loop(); i++ {
			binary.BigEndian.PutUint64(k[16:], i)
			f.Decide(k, names, 1)
		}
	})
}
