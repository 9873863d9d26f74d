package packages

import (
	"fmt"
	"regexp"
	"strings"
)

// man is the program's manual page, version and all: the README of its module, which
// is in that shape, or, of a program with commands, what they say themselves.
func (h *help) man(summary, readme, version string) string {
	var m roff
	m.line(fmt.Sprintf(`.TH %s 1 "" "%s %s" Receptor`, strings.ToUpper(h.program), h.program, version))
	if len(h.commands) > 0 {
		m.line(".SH NAME")
		m.line(escape(h.program) + ` \- ` + escape(summary))
		m.line(".SH DESCRIPTION")
		m.block(h.text)
		m.commands(h.commands)
		m.line(".SH SEE ALSO")
		m.line(`\fBreceptor\fR(1), \fBreceptor\-core\fR(1)`)
		return m.String()
	}
	m.markdown(h.program, readme)
	return m.String()
}

// roff is a page that is written.
type roff struct{ strings.Builder }

func (m *roff) line(s string) { m.WriteString(s + "\n") }

// block writes text as it is.
func (m *roff) block(text string) {
	m.line(".PP\n.nf")
	for line := range strings.Lines(text) {
		m.line(guard(escape(strings.TrimRight(line, "\n"))))
	}
	m.line(".fi")
}

func (m *roff) commands(commands []*help) {
	for _, c := range commands {
		m.line(".SH " + strings.ToUpper(escape(c.program)))
		m.block(c.text)
		m.commands(c.commands)
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	strong   = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	emphasis = regexp.MustCompile(`\*([^*]+)\*`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\([^)]*\)`)
)

// markdown writes a README in the shape of a manual page. It knows what our READMEs
// use: headings, paragraphs, lists, tables and blocks of code.
func (m *roff) markdown(program, text string) {
	var table []string // its header, once there is one
	fenced, indented, begun, section := false, false, false, ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if fence := strings.HasPrefix(line, "```"); fence || fenced {
			switch {
			case fence && fenced:
				m.line(".fi\n.RE")
				fenced, begun = false, false
			case fence:
				m.line(".PP\n.RS 4\n.nf")
				fenced = true
			default:
				m.line(guard(escape(line)))
			}
			continue
		}
		if !strings.HasPrefix(line, "|") {
			table = nil
		}
		if indented && !strings.HasPrefix(line, "    ") {
			m.line(".fi\n.RE")
			indented = false
		}
		switch {
		case strings.HasPrefix(line, "# "): // the title is in the header
		case strings.HasPrefix(line, "## "):
			section = line[3:]
			m.line(".SH " + escape(section))
			begun = true
		case strings.HasPrefix(line, "### "):
			m.line(".SS " + inline(line[4:]))
			begun = true
		case strings.TrimSpace(line) == "":
			begun = false
		case section == "NAME":
			name, what, _ := strings.Cut(strings.ReplaceAll(line, "**", ""), " - ")
			if name == program {
				m.line(escape(name) + ` \- ` + inline(strings.TrimSpace(what)))
			}
		case section == "":
			// What stands before the first section is about the module.
		case strings.HasPrefix(line, "|"):
			cells := cellsOf(line)
			switch {
			case table == nil:
				table = cells
			case strings.Trim(strings.Join(cells, ""), "-: ") != "":
				m.row(table, cells)
			}
		case strings.HasPrefix(line, "- "):
			m.line(".IP \\(bu 2\n" + guard(inline(line[2:])))
			begun = true
		case strings.HasPrefix(line, "    ") && !begun:
			if !indented {
				m.line(".PP\n.RS 4\n.nf")
			}
			indented = true
			m.line(guard(escape(line[4:])))
		default:
			if !begun {
				m.line(".PP")
				begun = true
			}
			m.line(guard(inline(strings.TrimSpace(line))))
		}
	}
}

// row writes a row of a table: what it is about, in parentheses what is short, and
// what it means.
func (m *roff) row(header, cells []string) {
	tag, last := inline(cells[0]), len(cells)-1
	var short []string
	for i := 1; i < last; i++ {
		switch {
		case cells[i] == "":
		case i < len(header) && header[i] == "default" && !strings.HasPrefix(cells[i], "required"):
			short = append(short, "default "+inline(cells[i]))
		default:
			short = append(short, inline(cells[i]))
		}
	}
	if len(short) > 0 {
		tag += " (" + strings.Join(short, "; ") + ")"
	}
	m.line(".TP\n" + guard(tag) + "\n" + guard(inline(cells[last])))
}

func cellsOf(line string) []string {
	line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|")
	cells := strings.Split(line, "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

// inline is a piece of text with its code and emphasis.
func inline(s string) string {
	s = link.ReplaceAllString(s, "$1")
	s = escape(s)
	s = codeSpan.ReplaceAllString(s, `\fB$1\fR`)
	s = strong.ReplaceAllString(s, `\fB$1\fR`)
	return emphasis.ReplaceAllString(s, `\fI$1\fR`)
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(s)
}

// guard keeps a line of text from being taken for a request.
func guard(s string) string {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}
