package packages

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// help is what a program says of itself with --help.
type help struct {
	program  string
	path     string
	text     string
	options  []option
	commands []*help // of a program that has commands: each with its own help
}

// option is one option of a command line.
type option struct {
	short, long string // without dashes
	value       string // what is to follow; empty: nothing
	text        string
}

var (
	optionLine  = regexp.MustCompile(`^ {2,6}(?:-(\w), )?--([a-z-]+)(?: (\[?[A-Z]+\]?|[a-z]+))? {2,}(.*)$`)
	commandLine = regexp.MustCompile(`^  ([a-z-]+) {2,}`)
)

// askProgram asks a program, and its commands, for their help.
func askProgram(ctx context.Context, dir, program string) (*help, error) {
	return askHelp(ctx, filepath.Join(dir, program), program)
}

func askHelp(ctx context.Context, path, program string, commands ...string) (*help, error) {
	cmd := exec.CommandContext(ctx, path, append(commands, "--help")...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s --help: %w", program, strings.Join(commands, " "), err)
	}
	h := &help{program: strings.Join(append([]string{program}, commands...), " "), path: path, text: string(out)}
	listed := false
	for line := range strings.Lines(h.text) {
		line = strings.TrimRight(line, "\n")
		if m := optionLine.FindStringSubmatch(line); m != nil {
			h.options = append(h.options, option{short: m[1], long: m[2], value: m[3], text: m[4]})
		}
		if !strings.HasPrefix(line, " ") {
			listed = line == "Available Commands:"
		}
		m := commandLine.FindStringSubmatch(line)
		if !listed || m == nil || m[1] == "completion" || m[1] == "help" {
			continue
		}
		c, err := askHelp(ctx, path, program, append(commands, m[1])...)
		if err != nil {
			return nil, err
		}
		h.commands = append(h.commands, c)
	}
	return h, nil
}

// takesItems tells whether the program takes kinds of items as options, and tells of
// those that it knows: a launcher, of all installed plugs.
func (h *help) takesItems() bool { return strings.Contains(h.text, "--help [KIND]") }

// isPlug tells whether the program is one.
func (h *help) isPlug() bool { return strings.Contains(h.text, h.program+" describe\n") }

// completion is the text that has a shell complete the program's command line.
func (h *help) completion(ctx context.Context, shell string) (string, error) {
	if len(h.commands) > 0 {
		out, err := exec.CommandContext(ctx, h.path, "completion", shell).Output()
		if err != nil {
			return "", fmt.Errorf("%s completion %s: %w", h.program, shell, err)
		}
		return string(out), nil
	}
	switch shell {
	case "bash":
		return h.bash(), nil
	case "zsh":
		return h.zsh(), nil
	case "fish":
		return h.fish(), nil
	}
	return "", fmt.Errorf("no completion for %s", shell)
}

// words are what may stand where anything may.
func (h *help) words() string {
	var w []string
	for _, o := range h.options {
		w = append(w, "--"+o.long)
	}
	if h.isPlug() {
		w = append(w, "describe")
	}
	return strings.Join(w, " ")
}

// What the kinds that a program knows add: themselves, under all their names, and
// parameters of one of them.
const (
	kindsOf  = `%[1]s --help 2>/dev/null | sed -n 's/^  \(--[a-z0-9-]*\)$/\1/p; s/^        also \(--[a-z0-9-]*\).*$/\1/p'`
	paramsOf = `%[1]s --help %[2]s 2>/dev/null | sed -n 's/^      \([a-z0-9][a-z0-9]*\)  .*$/\1=/p'`
)

const logLevels = "trace debug info warn error off"

// isFile, isLevel and isOther tell what the value of an option is, if it has one.
func (o *option) isFile() bool  { return o.value == "PATH" || o.value == "FILE" }
func (o *option) isLevel() bool { return o.long == "log-level" }
func (o *option) isOther() bool {
	return !o.isFile() && !o.isLevel() && o.value != "" && !strings.HasPrefix(o.value, "[")
}

func (h *help) bash() string {
	name := strings.ReplaceAll(h.program, "-", "_")
	const files = `compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))`
	var b strings.Builder
	fmt.Fprintf(&b, "# bash completion for %s\n_%s() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n\tcase $prev in\n", h.program, name)
	for _, o := range h.options {
		names := "--" + o.long
		if o.short != "" {
			names = "-" + o.short + " | " + names
		}
		switch {
		case o.isFile():
			fmt.Fprintf(&b, "\t%s) %s; return ;;\n", names, files)
		case o.isLevel():
			fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", names, logLevels)
		case o.isOther():
			fmt.Fprintf(&b, "\t%s) return ;;\n", names)
		}
	}
	words := h.words()
	if h.takesItems() {
		words += " $(" + fmt.Sprintf(kindsOf, h.program) + ")"
	}
	b.WriteString("\tesac\n")
	if h.takesItems() {
		// Bash takes the "=" of parameter=value for a word.
		fmt.Fprintf(&b, `	local i kind=
	for ((i = COMP_CWORD - 1; i > 0; i--)); do
		[[ ${COMP_WORDS[i]} == --* ]] && kind=${COMP_WORDS[i]#--} && break
	done
	if [[ $cur == = || $prev == = ]]; then
		[[ $cur == = ]] && cur=
		%s
		return
	fi
	if [[ $cur != -* && $kind ]]; then
		compopt -o nospace 2>/dev/null
		COMPREPLY=($(compgen -W "$(%s)" -- "$cur"))
		return
	fi
`, files, fmt.Sprintf(paramsOf, h.program, `"$kind"`))
	}
	fmt.Fprintf(&b, "\tCOMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))\n}\ncomplete -F _%s %s\n", words, name, h.program)
	return b.String()
}

func (h *help) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n", h.program)
	if h.takesItems() {
		h.zshItems(&b)
		return b.String()
	}
	b.WriteString("_arguments")
	quote := strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`)
	for _, o := range h.options {
		fmt.Fprintf(&b, " \\\n\t'--%s[%s]", o.long, quote.Replace(o.text))
		switch {
		case o.isFile():
			b.WriteString(":file:_files")
		case o.isLevel():
			fmt.Fprintf(&b, ":level:(%s)", logLevels)
		case o.isOther():
			fmt.Fprintf(&b, ":%s:", strings.ToLower(o.value))
		}
		b.WriteString("'")
	}
	if h.isPlug() {
		b.WriteString(" \\\n\t'1:command:(describe)'")
	}
	b.WriteString("\n")
	return b.String()
}

func (h *help) zshItems(b *strings.Builder) {
	var files, others []string
	for _, o := range h.options {
		switch {
		case o.isFile() && o.short != "":
			files = append(files, "-"+o.short, "--"+o.long)
		case o.isFile():
			files = append(files, "--"+o.long)
		case o.isOther():
			others = append(others, "--"+o.long)
		}
	}
	fmt.Fprintf(b, "case ${words[CURRENT-1]} in\n%s) _files; return ;;\n", strings.Join(files, " | "))
	if len(others) > 0 {
		fmt.Fprintf(b, "%s) return ;;\n", strings.Join(others, " | "))
	}
	fmt.Fprintf(b, `esac
local i kind=
for ((i = CURRENT - 1; i > 1; i--)); do
	[[ ${words[i]} == --* ]] && kind=${words[i]#--} && break
done
if [[ ${words[CURRENT]} == -* || -z $kind ]]; then
	compadd -- %s $(%s)
elif compset -P '*='; then
	_files
else
	compadd -S '' -- $(%s)
fi
`, h.words(), fmt.Sprintf(kindsOf, h.program), fmt.Sprintf(paramsOf, h.program, `"$kind"`))
}

func (h *help) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %s\ncomplete -c %[1]s -f\n", h.program)
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, o := range h.options {
		fmt.Fprintf(&b, "complete -c %s -l %s -d '%s'", h.program, o.long, quote.Replace(o.text))
		if o.short != "" {
			fmt.Fprintf(&b, " -s %s", o.short)
		}
		switch {
		case o.isFile():
			b.WriteString(" -r -F")
		case o.isLevel():
			fmt.Fprintf(&b, " -x -a '%s'", logLevels)
		case o.isOther():
			b.WriteString(" -x")
		}
		b.WriteString("\n")
	}
	if h.isPlug() {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a describe -d 'what the plug tells a core about itself'\n", h.program)
	}
	if h.takesItems() {
		items := "__" + strings.ReplaceAll(h.program, "-", "_") + "_items"
		fmt.Fprintf(&b, `function %[1]s
	set -l token (commandline -ct)
	set -l kinds (commandline -opc | string match -- '--*')
	if string match -q -- '-*' $token; or not set -q kinds[1]
		%[3]s
	else
		%[4]s
	end
end
complete -c %[2]s -a '(%[1]s)'
complete -c %[2]s -n 'string match -q -- "*=*" (commandline -ct)' -F
`, items, h.program, fmt.Sprintf(kindsOf, h.program), fmt.Sprintf(paramsOf, h.program, `(string sub -s 3 -- $kinds[-1])`))
	}
	return b.String()
}
