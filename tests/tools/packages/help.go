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

// isLauncher tells whether the program takes kinds of items as options, and knows
// those of all installed plugs.
func (h *help) isLauncher() bool { return strings.Contains(h.text, "--help [KIND]") }

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

// What a launcher's installed plugs add: kinds, and parameters of a kind.
const (
	kindsOf  = `%[1]s --help 2>/dev/null | sed -n 's/^  \(--[a-z0-9-]*\)$/\1/p'`
	paramsOf = `%[1]s --help "${%[2]s#--}" 2>/dev/null | sed -n 's/^      \([a-z0-9]*\)  *.*$/\1=/p'`
)

func (h *help) bash() string {
	name := strings.ReplaceAll(h.program, "-", "_")
	var b strings.Builder
	fmt.Fprintf(&b, "# bash completion for %s\n_%s() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n\tcase $prev in\n", h.program, name)
	for _, o := range h.options {
		switch {
		case o.value == "PATH" || o.value == "FILE":
			fmt.Fprintf(&b, "\t--%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", o.long)
		case o.long == "log-level":
			fmt.Fprintf(&b, "\t--%s) COMPREPLY=($(compgen -W \"trace debug info warn error off\" -- \"$cur\")); return ;;\n", o.long)
		case o.value != "" && !strings.HasPrefix(o.value, "["):
			fmt.Fprintf(&b, "\t--%s) return ;;\n", o.long)
		}
	}
	words := h.words()
	if h.isLauncher() {
		words += " $(" + fmt.Sprintf(kindsOf, h.program) + ")"
	}
	b.WriteString("\tesac\n")
	if h.isLauncher() {
		fmt.Fprintf(&b, `	if [[ $cur != -* ]]; then
		local i kind=
		for ((i = COMP_CWORD - 1; i > 0; i--)); do
			[[ ${COMP_WORDS[i]} == --* ]] && kind=${COMP_WORDS[i]} && break
		done
		compopt -o nospace
		[[ $kind ]] && COMPREPLY=($(compgen -W "$(%s)" -- "$cur"))
		return
	fi
`, fmt.Sprintf(paramsOf, h.program, "kind"))
	}
	fmt.Fprintf(&b, "\tCOMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))\n}\ncomplete -F _%s %s\n", words, name, h.program)
	return b.String()
}

func (h *help) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n", h.program)
	if h.isLauncher() {
		fmt.Fprintf(&b, `local i kind=
for ((i = CURRENT - 1; i > 1; i--)); do
	[[ ${words[i]} == --* ]] && kind=${words[i]} && break
done
case ${words[CURRENT-1]} in
-c | --config | --socket) _files; return ;;
esac
if [[ ${words[CURRENT]} == -* || -z $kind ]]; then
	compadd -- %s $(%s)
else
	compadd -S '' -- $(%s)
fi
`, h.words(), fmt.Sprintf(kindsOf, h.program), fmt.Sprintf(paramsOf, h.program, "kind"))
		return b.String()
	}
	b.WriteString("_arguments")
	quote := strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`)
	for _, o := range h.options {
		fmt.Fprintf(&b, " \\\n\t'--%s[%s]", o.long, quote.Replace(o.text))
		switch {
		case o.value == "PATH" || o.value == "FILE":
			b.WriteString(":file:_files")
		case o.long == "log-level":
			b.WriteString(":level:(trace debug info warn error off)")
		case o.value != "" && !strings.HasPrefix(o.value, "["):
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
		case o.value == "PATH" || o.value == "FILE":
			b.WriteString(" -r -F")
		case o.long == "log-level":
			b.WriteString(" -x -a 'trace debug info warn error off'")
		case o.value != "" && !strings.HasPrefix(o.value, "["):
			b.WriteString(" -x")
		}
		b.WriteString("\n")
	}
	if h.isPlug() {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a describe -d 'what the plug tells a core about itself'\n", h.program)
	}
	if h.isLauncher() {
		fmt.Fprintf(&b, "complete -c %s -a '(%s)'\n", h.program, quote.Replace(fmt.Sprintf(kindsOf, h.program)))
	}
	return b.String()
}
