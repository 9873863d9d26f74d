package lab

import (
	"slices"
	"testing"
)

func TestScreen(t *testing.T) {
	for sent, want := range map[string][]string{
		"one\r\ntwo":                               {"one", "two", "", ""},
		"1\r\n2\r\n3\r\n4\r\n5":                    {"2", "3", "4", "5"},
		"0123456789":                               {"01234567", "89", "", ""},
		"x\x1b[3;4Hy\x1b[Hz":                       {"z", "", "   y", ""},
		"abc\x1b[2Dx\x1b[K":                        {"ax", "", "", ""},
		"a\r\nb\x1b[2J\x1b[Hc":                     {"c", "", "", ""},
		"a\r\nb\x1b[1;1H\x1b[J":                    {"", "", "", ""},
		"\x1b[1;31mred\x1b[0m\x1b(B":               {"red", "", "", ""},
		"\x1b]0;title\ax\x1bP+q\x1b\\y":            {"xy", "", "", ""},
		"\x1b[?1049h\x1b[>cx":                      {"x", "", "", ""},
		"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[H":          {"a", "b", "c", "d"},
		"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\nx":    {"a", "c", "x", "d"},
		"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[2;1H\x1bMx": {"a", "x", "b", "d"},
		"a\r\nb\r\nc\x1b[H\x1b[Lx":                 {"x", "a", "b", "c"},
	} {
		for _, step := range []int{1, len(sent)} {
			var s Screen
			s.Resize(8, 4)
			for b := []byte(sent); len(b) > 0; b = b[min(step, len(b)):] {
				s.Write(b[:min(step, len(b))])
			}
			if got := s.Lines(); !slices.Equal(got, want) {
				t.Errorf("%q, %d at a time: %q, want %q", sent, step, got, want)
			}
		}
	}
}
