//go:build linux

package packages

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	table "github.com/project-receptor/receptor/tests/tools/packages"
)

// bashCompletion is what completes receptorctl with bash; it is of a package of its own.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// unpack unpacks all packages and returns the folder of their files.
func unpack(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range table.In(built.repo) {
		if out, err := exec.Command("dpkg-deb", "-x", deb(t, p.Name), dir).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
	}
	return dir
}

// Manual pages are such.
func TestManual(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("skipped: needs groff")
	}
	dir := unpack(t)
	for _, p := range table.In(built.repo) {
		page := filepath.Join(dir, "usr/share/man/man1", p.Name+".1.gz")
		cmd := exec.Command("sh", "-c", "zcat "+page+" | groff -man -Tutf8 -ww -P-c")
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		if text, err := cmd.Output(); err != nil || complaints.Len() > 0 || !regexp.MustCompile(p.Name+`\s+-\s`).Match(text) {
			t.Errorf("%s: %v\n%s", page, err, complaints.String())
		}
	}
}

// Completions are where their shells look for them, are taken by them, and complete
// what people type.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := unpack(t)
	file := filepath.Join(dir, "a-f") // begins the name of one
	must(t, os.WriteFile(file+"ile", nil, 0o644))
	for _, shell := range []struct{ name, file, check, script string }{
		{"bash", "usr/share/bash-completion/completions/%s", "bash -n %s", bashScript},
		{"zsh", "usr/share/zsh/vendor-completions/_%s", "zsh -n %s", zshScript},
		{"fish", "usr/share/fish/vendor_completions.d/%s.fish", "fish --no-execute %s", fishScript},
	} {
		t.Run(shell.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range table.In(built.repo) {
				if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf(shell.file, p.Name))); err != nil {
					t.Error(err)
				}
			}
			if _, err := exec.LookPath(shell.name); err != nil {
				t.Skip("skipped: needs ", shell.name)
			}
			for _, p := range table.In(built.repo) {
				file := filepath.Join(dir, fmt.Sprintf(shell.file, p.Name))
				if out, err := exec.Command("sh", "-c", fmt.Sprintf(shell.check, file)).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", file, err, out)
				}
			}
			for line, want := range map[string]string{
				"receptorctl wo":                        "work",
				"receptorctl work su":                   "submit",
				"receptor-backend-tcp --take":           "--takeover",
				"receptor-backend-tcp --log-level d":    "debug",
				"receptor-backend-tcp --socket " + file: "a-file",
				"receptor-core --items":                 "--items-fd",
				"receptor-core --tls":                   "--tls-client --tls-server",
				"receptor-core --node req":              "requiretls=",
				"receptor -c " + file:                   "a-file",
				"receptor --tcp-l":                      "--tcp-listener", // of a plug that is installed
				"receptor --tcp-inb":                    "--tcp-inbound-proxy",
				"receptor --tcp-listener bind":          "bindaddr=",
				"receptor --tcp-listener port=1 bind":   "bindaddr=",
				"receptor --tls-server cert=" + file:    "a-file",
			} {
				program, _, _ := strings.Cut(line, " ")
				if _, err := os.Stat(bashCompletion); err != nil && shell.name == "bash" && program == "receptorctl" {
					t.Logf("bash does not complete %q: needs bash-completion", line)
					continue
				}
				if got := complete(t, dir, line, shell.name, shell.script, fmt.Sprintf(shell.file, program)); got != want {
					t.Errorf("%s completes %q to %q, expected %q", shell.name, line, got, want)
				}
			}
		})
	}
}

// The programs that complete the last word of a line, and print what they found. Their
// arguments are the file of the completions, the line, and a file that is not there yet.

// bashScript does what bash does at a prompt; bash takes a "=" for a word.
const bashScript = `compopt() { :; }
[ ! -e ` + bashCompletion + ` ] || . ` + bashCompletion + `
. "$1"
COMP_LINE=$2 COMP_WORDS=(${2//=/ = }) COMP_TYPE=9
COMP_POINT=${#COMP_LINE} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "${COMP_WORDS[0]}")
function=${function#*-F }
${function%% *} "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"`

// fishScript cuts off descriptions, which stand behind a tab.
const fishScript = `set -p fish_complete_path (dirname $argv[1])
complete -C "$argv[2]" | cut -f1`

// zshScript types the line into a zsh of its own, which ends when it has completed.
const zshScript = `zmodload zsh/zpty
zpty typing "DIR=${1:h} FOUND=$3 zsh -fi"
zpty -w typing 'fpath=($DIR $fpath); autoload -Uz compinit; compinit -u -D; bindkey "^I" complete-word
compadd() { local -a found; [[ " $@ " == *" -"[OAD]" "* ]] || { builtin compadd -A found "$@"; print -rl -- $found >> $FOUND }; builtin compadd "$@" }
fin() { exit }; comppostfuncs=(fin)'
zpty -w -n typing "$2"$'\t'
while zpty -r typing said; do print -r -- "$said" >&2; done
cat "$3"`

// complete has a shell complete the last word of a line, and returns what it found, of
// files their names.
func complete(t *testing.T, dir, line, shell, script, file string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	home := t.TempDir()
	var args []string
	if shell == "zsh" {
		args = append(args, "-f")
	}
	args = append(args, "-c", script)
	if shell != "fish" {
		args = append(args, shell)
	}
	cmd := exec.CommandContext(ctx, shell, append(args, filepath.Join(dir, file), line, filepath.Join(home, "found"))...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "usr/bin")+":"+os.Getenv("PATH"), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s, completing %q: %v\n%s", shell, line, err, said.String())
	}
	words := strings.Fields(string(out))
	for i, w := range words {
		words[i] = w[strings.LastIndex(w, "/")+1:]
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
