package lab

import (
	"slices"
	"strconv"
	"strings"
)

// Screen draws what programs send to a simple terminal: text, the cursor moved and set, lines and the
// screen erased, scrolling with and without margins. What else there is, colours for one, is passed over.
type Screen struct {
	lines       [][]rune
	columns     int
	row, column int
	top, bottom int    // margins, both included
	sequence    []byte // one that has begun
}

// Resize gives the screen another size; what fits stays.
func (s *Screen) Resize(columns, rows int) {
	for len(s.lines) < rows {
		s.lines = append(s.lines, nil)
	}
	s.lines, s.columns = s.lines[:rows], columns
	for i, l := range s.lines {
		for len(l) < columns {
			l = append(l, ' ')
		}
		s.lines[i] = l[:columns]
	}
	s.row, s.column = min(s.row, rows-1), min(s.column, columns-1)
	s.top, s.bottom = 0, rows-1
}

// Lines are the lines, without spaces at their ends.
func (s *Screen) Lines() []string {
	var lines []string
	for _, l := range s.lines {
		lines = append(lines, strings.TrimRight(string(l), " "))
	}
	return lines
}

// Write draws.
func (s *Screen) Write(b []byte) {
	for _, c := range b {
		if len(s.sequence) > 0 {
			s.within(c)
			continue
		}
		switch {
		case c == 0x1b:
			s.sequence = []byte{c}
		case c == '\r':
			s.column = 0
		case c == '\n':
			s.down()
		case c == '\b':
			s.column = max(s.column-1, 0)
		case c == '\t':
			s.column = min(s.column/8*8+8, s.columns-1)
		case c >= ' ' && c < 0x7f:
			if s.column == s.columns {
				s.column = 0
				s.down()
			}
			s.lines[s.row][s.column] = rune(c)
			s.column++
		}
	}
}

// down goes to the next line, which scrolls at the margin.
func (s *Screen) down() {
	if s.row == s.bottom {
		s.scroll(s.top, s.bottom, 1)
	} else {
		s.row = min(s.row+1, len(s.lines)-1)
	}
}

// scroll moves lines up by n, or down by -n.
func (s *Screen) scroll(top, bottom, n int) {
	for ; n != 0 && top <= bottom; n -= sign(n) {
		if n > 0 {
			s.lines = slices.Insert(slices.Delete(s.lines, top, top+1), bottom, s.blank())
		} else {
			s.lines = slices.Insert(slices.Delete(s.lines, bottom, bottom+1), top, s.blank())
		}
	}
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

func (s *Screen) blank() []rune { return []rune(strings.Repeat(" ", s.columns)) }

// within takes a byte of a sequence.
func (s *Screen) within(c byte) {
	s.sequence = append(s.sequence, c)
	switch s.sequence[1] {
	case '[':
		if len(s.sequence) == 2 || c < 0x40 || c > 0x7e {
			return
		}
		s.control(string(s.sequence[2:len(s.sequence)-1]), c)
	case ']', 'P', '_': // texts that are no text of the screen
		if c != '\a' && (c != '\\' || s.sequence[len(s.sequence)-2] != 0x1b) {
			return
		}
	case '(', ')', '#':
		if len(s.sequence) < 3 {
			return
		}
	case 'M': // up, and at the margin the others down
		if s.row == s.top {
			s.scroll(s.top, s.bottom, -1)
		} else {
			s.row = max(s.row-1, 0)
		}
	}
	s.sequence = nil
}

// control does what a control sequence says.
func (s *Screen) control(parameters string, final byte) {
	var n []int
	for _, p := range strings.Split(parameters, ";") {
		v, err := strconv.Atoi(p)
		if err != nil && p != "" {
			return // one of the private ones
		}
		n = append(n, v)
	}
	at := func(i int) int { // a parameter that counts, or a place, from 1 on
		if i < len(n) && n[i] > 0 {
			return n[i]
		}
		return 1
	}
	switch final {
	case 'A':
		s.row = max(s.row-at(0), 0)
	case 'B':
		s.row = min(s.row+at(0), len(s.lines)-1)
	case 'C':
		s.column = min(s.column+at(0), s.columns-1)
	case 'D':
		s.column = max(s.column-at(0), 0)
	case 'G':
		s.column = min(at(0), s.columns) - 1
	case 'd':
		s.row = min(at(0), len(s.lines)) - 1
	case 'H', 'f':
		s.row, s.column = min(at(0), len(s.lines))-1, min(at(1), s.columns)-1
	case 'J':
		s.erase(n[0])
	case 'K':
		from, to := min(s.column, s.columns), s.columns
		if n[0] > 0 {
			from = 0
		}
		if n[0] == 1 {
			to = min(s.column+1, s.columns)
		}
		copy(s.lines[s.row][from:to], s.blank())
	case 'L':
		s.scroll(s.row, s.bottom, -at(0))
	case 'M':
		s.scroll(s.row, s.bottom, at(0))
	case 'r':
		s.top, s.bottom = at(0)-1, len(s.lines)-1
		if len(n) > 1 && n[1] > 0 {
			s.bottom = min(n[1], len(s.lines)) - 1
		}
		s.row, s.column = 0, 0
	}
}

// erase erases the screen from the cursor on, or all of it.
func (s *Screen) erase(what int) {
	from := s.row + 1
	if what > 0 {
		from = 0
	} else {
		copy(s.lines[s.row][min(s.column, s.columns):], s.blank())
	}
	for i := from; i < len(s.lines); i++ {
		s.lines[i] = s.blank()
	}
}
