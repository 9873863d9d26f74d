package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/exp/apidiff"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// tree is a repository with a library and a program that uses it.
type tree struct {
	t   *testing.T
	dir string
}

const (
	below = workspace.Root + "/below"
	above = workspace.Root + "/above"
)

func newTree(t *testing.T) *tree {
	t.Helper()
	r := &tree{t, t.TempDir()}
	r.write("go.work", "go 1.26.0\n\nuse (\n\t./above\n\t./below\n)\n\nreplace "+above+" v0.1.0 => ./above\n\nreplace "+below+" v0.1.0 => ./below\n")
	for _, m := range []string{"above", "below"} {
		r.write(m+"/LICENSE", "free\n")
		r.write(m+"/CHANGELOG.md", "# Changelog\n\n## v0.1.0\n\n- First version.\n")
	}
	r.write("below/go.mod", "module "+below+"\n\ngo 1.26.0\n")
	r.write("below/below.go", "package below\n\nfunc Number() int { return 1 }\n")
	r.write("above/go.mod", "module "+above+"\n\ngo 1.26.0\n\nrequire "+below+" v0.1.0\n")
	r.write("above/main.go", "package main\n\nimport \""+below+"\"\n\nfunc main() { println(below.Number()) }\n")
	r.git("init", "-q")
	r.commit()
	return r
}

func (r *tree) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *tree) read(name string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(name)))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// replace changes a text of a file, which has to be there.
func (r *tree) replace(name, old, text string) {
	r.t.Helper()
	before := r.read(name)
	if !strings.Contains(before, old) {
		r.t.Fatalf("%s has no %q:\n%s", name, old, before)
	}
	r.write(name, strings.Replace(before, old, text, 1))
}

func (r *tree) git(args ...string) string {
	r.t.Helper()
	identity := []string{"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "tag.gpgsign=false", "-c", "commit.gpgsign=false"}
	out, err := output(r.t.Context(), r.dir, nil, "git", append(identity, args...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *tree) commit() {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "a step")
}

func (r *tree) repo() *workspace.Repo {
	r.t.Helper()
	repo, err := workspace.Open(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return repo
}

// prepare prepares a release, and returns what it says.
func (r *tree) prepare(dryRun bool, dirs ...string) (string, error) {
	r.t.Helper()
	var b strings.Builder
	err := prepare(r.t.Context(), r.repo(), &b, dirs, dryRun)
	return b.String(), err
}

// refused expects that a release is refused in one line with these words.
func (r *tree) refused(words string, dirs ...string) {
	r.t.Helper()
	said, err := r.prepare(false, dirs...)
	if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") || said != "" {
		r.t.Errorf("release %v: %v, expected one line with %q; it said %q", dirs, err, words, said)
	}
	if left := r.git("worktree", "list"); strings.Contains(left, "\n") {
		r.t.Errorf("work trees are left: %s", left)
	}
}

// released prepares a release, commits what it wrote and does what it says that CI does.
func (r *tree) released(dirs ...string) string {
	r.t.Helper()
	said, err := r.prepare(false, dirs...)
	if err != nil {
		r.t.Fatalf("release %v: %v", dirs, err)
	}
	if r.git("status", "--porcelain") != "" {
		r.commit()
	}
	tags := 0
	for line := range strings.Lines(said) {
		f := strings.Fields(line)
		if len(f) == 7 && f[0] == "git" && f[1] == "tag" {
			if f[6] == "COMMIT" {
				f[6] = "HEAD"
			}
			r.git(f[1:]...)
			tags++
		}
	}
	if tags != len(dirs) {
		r.t.Fatalf("%d tags for %v:\n%s", tags, dirs, said)
	}
	return said
}

// What a release writes is what users get from its tags, and each thing that is
// against it is named.
func TestRelease(t *testing.T) {
	t.Parallel()
	r := newTree(t)
	r.refused("is no module that is released", "beside")
	r.refused("name the modules")
	r.refused("above: it requires below v0.1.0, which is neither released nor in this release", "above")

	said, err := r.prepare(true, "above", "below")
	if err != nil || r.git("status", "--porcelain") != "" || !strings.Contains(said, "would write sums of siblings into above/go.sum") {
		t.Errorf("dry run: %v, %s\n%s", err, r.git("status", "--porcelain"), said)
	}
	said = r.released("above", "below")
	if strings.Index(said, "below v0.1.0") > strings.Index(said, "above v0.1.0") || !strings.Contains(said, "wrote sums of siblings into above/go.sum") {
		t.Errorf("it says\n%s", said)
	}
	if sums := r.read("above/go.sum"); !strings.Contains(sums, below+" v0.1.0 "+r.published("below", "v0.1.0")+"\n") {
		t.Errorf("above/go.sum has not the sum of what is published:\n%s", sums)
	}
	// make tidy, which sees no siblings but those of the tree, leaves them.
	if err := tidy(t.Context(), r.repo(), true); err != nil {
		t.Error(err)
	}

	r.refused("v0.1.0 is released: there is a tag below/v0.1.0", "below")
	r.replace("below/CHANGELOG.md", "## v0.1.0", "## v0.1.1\n\n## v0.1.0")
	r.refused("the tree is not clean: below/CHANGELOG.md", "below")
	r.commit()
	r.refused(`CHANGELOG.md has no entries under "## v0.1.1"`, "below")

	r.replace("below/CHANGELOG.md", "## v0.1.1\n", "## v0.1.1\n\n- Numbers are 64 bits wide.\n")
	r.replace("below/below.go", "Number() int ", "Number() int64 ")
	r.commit()
	r.refused("v0.1.1 cannot follow v0.1.0: its API breaks (Number: changed from func() int to func() int64): the next is v0.2.0", "below")
	r.replace("below/CHANGELOG.md", "v0.1.1", "v0.2.0")
	r.replace("go.work", "replace "+below, "replace "+below+" v0.2.0 => ./below\n\nreplace "+below)
	r.commit()
	// Whoever requires the old one is released on its own.
	r.replace("above/CHANGELOG.md", "## v0.1.0", "## v0.1.1\n\n- Faster.\n\n## v0.1.0")
	r.replace("go.work", "replace "+above, "replace "+above+" v0.1.1 => ./above\n\nreplace "+above)
	r.commit()
	if said := r.released("above"); strings.Contains(said, "go.sum") || !strings.Contains(said, "above v0.1.1, after v0.1.0") {
		t.Errorf("it says\n%s", said)
	}

	// And whoever requires the new one goes out with it, or after it.
	r.replace("above/CHANGELOG.md", "## v0.1.1", "## v0.1.2\n\n- Wider.\n\n## v0.1.1")
	r.replace("above/go.mod", "v0.1.0", "v0.2.0")
	r.replace("go.work", "replace "+above, "replace "+above+" v0.1.2 => ./above\n\nreplace "+above)
	r.commit()
	r.refused("it requires below v0.2.0", "above")
	if said := r.released("below", "above"); !strings.Contains(said, "API breaks: Number") {
		t.Errorf("it says\n%s", said)
	}
	if sums := r.read("above/go.sum"); !strings.Contains(sums, below+" v0.2.0 "+r.published("below", "v0.2.0")+"\n") || strings.Contains(sums, "v0.1.0") {
		t.Errorf("above/go.sum is\n%s", sums)
	}

	// What is tagged is what is checked, until there is a new candidate.
	if err := releaseCheck(t.Context(), r.repo()); err != nil {
		t.Errorf("release check: %v", err)
	}
	r.replace("below/below.go", "return 1", "return 2")
	err = releaseCheck(t.Context(), r.repo())
	if err == nil || !strings.Contains(err.Error(), "below has changed since its tag below/v0.2.0: CHANGELOG.md needs a new top heading") {
		t.Errorf("release check of a changed module: %v", err)
	}
}

// published is the hash of the module zip that a tag makes.
func (r *tree) published(dir, version string) string {
	r.t.Helper()
	name := filepath.Join(r.t.TempDir(), "zip")
	f, err := os.Create(name)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	mv := module.Version{Path: workspace.Root + "/" + dir, Version: version}
	if err := modzip.CreateFromVCS(f, mv, r.dir, dir+"/"+version, dir); err != nil {
		r.t.Fatal(err)
	}
	sum, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		r.t.Fatal(err)
	}
	return sum
}

func TestNextVersion(t *testing.T) {
	t.Parallel()
	same := apidiff.Report{}
	grown := apidiff.Report{Changes: []apidiff.Change{{Message: "New: added", Compatible: true}}}
	broken := apidiff.Report{Changes: []apidiff.Change{{Message: "New: added", Compatible: true}, {Message: "Old: removed"}}}
	for _, c := range []struct {
		last, version string
		api           apidiff.Report
		next          string // "" if version may follow
	}{
		{"v0.1.0", "v0.1.1", same, ""},
		{"v0.1.0", "v0.1.0", same, "v0.1.1"},
		{"v0.9.1", "v0.10.0", same, ""},
		{"v0.9.1", "v0.9.0", same, "v0.9.2"},
		{"v0.1.0", "v0.1.1", grown, ""},
		{"v0.1.0", "v0.1.1", broken, "v0.2.0"},
		{"v0.1.7", "v0.2.0", broken, ""},
		{"v0.1.0", "v1.0.0", broken, ""},
		{"v1.2.3", "v1.2.4", same, ""},
		{"v1.2.3", "v1.2.4", grown, "v1.3.0"},
		{"v1.2.3", "v1.3.0", grown, ""},
		{"v1.2.3", "v1.3.0", broken, "v2.0.0"},
	} {
		err := follows(c.last, c.version, c.api)
		switch {
		case c.next == "" && err != nil:
			t.Errorf("%s after %s: %v", c.version, c.last, err)
		case c.next != "" && (err == nil || !strings.HasSuffix(err.Error(), "the next is "+c.next)):
			t.Errorf("%s after %s: %v, expected %s as the next", c.version, c.last, err, c.next)
		}
	}
}

func TestWhoNeeds(t *testing.T) {
	t.Parallel()
	r := newTree(t)
	for dir, want := range map[string]string{"below": "above\n", "./above/": ""} {
		var b strings.Builder
		if err := whoNeeds(r.repo(), &b, dir); err != nil || b.String() != want {
			t.Errorf("who needs %s: %q, %v, expected %q", dir, b.String(), err, want)
		}
	}
	if err := whoNeeds(r.repo(), new(strings.Builder), "beside"); err == nil {
		t.Error("a directory without a module is needed by nobody")
	}
}

func TestTestedTogetherIsOfThisTree(t *testing.T) {
	t.Parallel()
	r, err := workspace.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := testedTogether(t.Context(), r, true); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		have, want string
		same       bool
	}{
		{"| a | v1 | v2 |", "| a | v1 | v2 |", true},
		{"| a | v1 | v2 |", "| a | v1 | ? |", true},
		{"| a | v1 | v2 |", "| a | v3 | ? |", false},
		{"| a | v1 |", "| a | v1 | ? |", false},
	} {
		if sameTable(c.have, c.want) != c.same {
			t.Errorf("%q beside %q is taken for another: %v", c.have, c.want, c.same)
		}
	}
}
