package program

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                         nil,
		" \t\r\n":                  nil,
		"a":                        {"a"},
		" a  b\tc\nd\re ":          {"a", "b", "c", "d", "e"},
		"'a b' \"c d\"":            {"a b", "c d"},
		"a'b c'd\"e f\"":           {"ab cde f"},
		"'' \"\" x":                {"", "", "x"},
		`a\ b`:                     {"a b"},
		`\#a \'b \"c \\d`:          {"#a", "'b", `"c`, `\d`},
		`"a\"b" "c\\d" "e\nf"`:     {`a"b`, `c\d`, "enf"},
		`'a\b' 'c"d' "e'f"`:        {`a\b`, `c"d`, "e'f"},
		"a # b c":                  {"a"},
		"a # b 'c\nd":              {"a", "d"},
		"#a\n#b\nc":                {"c"},
		"a#b '#c' \"#d\" ''#e":     {"a#b", "#c", "#d", "#e"},
		"--opt='x y' --other=\"\"": {"--opt=x y", "--other="},
		"$HOME * `id` $(id) ; |&":  {"$HOME", "*", "`id`", "$(id)", ";", "|&"},
		"ä 'ö ü'":                  {"ä", "ö ü"},
		"\\\n":                     {"\n"},
	} {
		if got, err := Split(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; expected %q", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"'": errOpenQuote, `a "b`: errOpenQuote, `'a\'b'`: errOpenQuote, `"a\"`: errOpenQuote,
		`\`: errLoneEscape, `a b\`: errLoneEscape, `"a\`: errLoneEscape,
	} {
		if got, err := Split(text); !errors.Is(err, want) {
			t.Errorf("%q: %q, %v; expected %v", text, got, err, want)
		}
	}
}

// Whatever arguments there are, quoted they come out as they went in.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a b", `a\ b "c" 'd'`, "#", "'\n", "\xff\"", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		args, err := Split(text)
		if err != nil {
			return
		}
		total := 0
		var quoted []string
		for _, a := range args {
			total += len([]rune(a))
			quoted = append(quoted, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
		}
		if total > len([]rune(text)) {
			t.Errorf("%q became more: %q", text, args)
		}
		if again, err := Split(strings.Join(quoted, " ")); err != nil || !slices.Equal(again, args) {
			t.Errorf("%q is %q, and quoted %q, %v", text, args, again, err)
		}
	})
}
