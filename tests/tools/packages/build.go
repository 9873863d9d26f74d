package packages

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// Builder makes packages of built programs.
type Builder struct {
	Repo     *workspace.Repo
	NFPM     string // program that writes the formats
	Programs string // folder of modules programs; those of this machine are in it, too
	Work     string // folder of its own, for what goes into packages
	Out      string // folder for packages
	Release  string // of the package, behind the version of the module
	Date     string // of the files, in seconds since 1970
}

// nfpmConfig is what nfpm is told.
type nfpmConfig struct {
	Name        string            `json:"name"`
	Arch        string            `json:"arch"`
	Platform    string            `json:"platform"`
	Version     string            `json:"version"`
	Release     string            `json:"release"`
	Section     string            `json:"section"`
	Maintainer  string            `json:"maintainer"`
	Description string            `json:"description"`
	Homepage    string            `json:"homepage"`
	License     string            `json:"license"`
	Depends     []string          `json:"depends,omitempty"`
	Recommends  []string          `json:"recommends,omitempty"`
	Contents    []nfpmContent     `json:"contents"`
	Scripts     map[string]string `json:"scripts,omitempty"`
	RPM         nfpmRPM           `json:"rpm"`
}

type nfpmRPM struct {
	BuildHost string `json:"buildhost"` // nfpm takes the name of this machine, if there is none
}

type nfpmContent struct {
	Src      string   `json:"src,omitempty"`
	Dst      string   `json:"dst"`
	Type     string   `json:"type,omitempty"`
	FileInfo nfpmInfo `json:"file_info"`
}

type nfpmInfo struct {
	Mode  int    `json:"mode"`
	Owner string `json:"owner"`
	Group string `json:"group"`
}

// Build makes a package for an architecture, in a format of nfpm, and returns its file.
func (b *Builder) Build(ctx context.Context, p *Package, arch, format string) (string, error) {
	s := &stage{Builder: b, ctx: ctx, p: p, arch: arch, format: format, dir: filepath.Join(b.Work, p.Name+"-"+arch)}
	if err := s.fill(); err != nil {
		return "", err
	}
	config := filepath.Join(s.dir, "nfpm.json")
	text, err := json.MarshalIndent(s.config(), "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(config, text, 0o644); err != nil {
		return "", err
	}
	arches := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	file := fmt.Sprintf("%s_%s-%s_%s.deb", p.Name, s.version(), b.Release, arch)
	if format == "rpm" {
		file = fmt.Sprintf("%s-%s-%s.%s.rpm", p.Name, s.version(), b.Release, arches[arch])
	}
	file = filepath.Join(b.Out, file)
	cmd := exec.CommandContext(ctx, b.NFPM, "package", "-f", config, "-p", format, "-t", file)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+b.Date)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("nfpm: %w\n%s", err, out)
	}
	return file, nil
}

// stage is what goes into one package.
type stage struct {
	*Builder
	ctx      context.Context
	p        *Package
	arch     string
	format   string
	dir      string
	contents []nfpmContent
	scripts  map[string]string
	err      error // the first one
}

func (s *stage) version() string {
	return strings.TrimPrefix(s.Repo.Module(workspace.Root+"/"+s.p.Module).Version, "v")
}

// add adds a file that is there.
func (s *stage) add(src, dst string, mode int) {
	s.contents = append(s.contents, nfpmContent{Src: src, Dst: dst, FileInfo: nfpmInfo{mode, "root", "root"}})
}

// addDir adds a directory: with rpm, one that is in no package stays when its files go.
func (s *stage) addDir(dst string) {
	s.contents = append(s.contents, nfpmContent{Dst: dst, Type: "dir", FileInfo: nfpmInfo{0o755, "root", "root"}})
}

// write adds a file with that text.
func (s *stage) write(dst, text string) {
	src := filepath.Join(s.dir, "files", dst)
	err := os.MkdirAll(filepath.Dir(src), 0o755)
	if err == nil {
		err = os.WriteFile(src, []byte(text), 0o644)
	}
	s.err = errors.Join(s.err, err)
	s.add(src, dst, 0o644)
}

// writeMan adds a manual page, compressed as systems have them.
func (s *stage) writeMan(program, text string) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	s.err = errors.Join(s.err, err, z.Close())
	s.write("/usr/share/man/man1/"+program+".1.gz", b.String())
}

func (s *stage) fill() error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	for _, program := range append([]string{s.p.Name}, s.p.Programs...) {
		s.add(filepath.Join(s.Programs, "linux-"+s.arch, program), "/usr/bin/"+program, 0o755)
	}
	for _, f := range s.p.Files {
		s.add(s.Repo.File(f.From), f.To, 0o644)
		if f.Config {
			s.contents[len(s.contents)-1].Type = "config|noreplace"
			s.addDir(filepath.Dir(f.To))
		}
	}
	doc := "/usr/share/doc/" + s.p.Name + "/"
	s.addDir(doc)
	s.add(s.Repo.File(s.p.Module, "LICENSE"), doc+"copyright", 0o644)
	s.add(s.Repo.File(s.p.Module, "CHANGELOG.md"), doc+"CHANGELOG.md", 0o644)
	s.add(s.Repo.File(s.p.Module, "README.md"), doc+"README.md", 0o644)
	if err := s.texts(); err != nil {
		return err
	}
	if s.p.Unit != nil {
		s.write("/usr/lib/systemd/system/"+s.p.Name+".service", s.p.UnitFile())
		s.write("/usr/lib/sysusers.d/"+s.p.Name+".conf", s.p.Sysusers())
		if lines := s.p.Unit.TmpFiles; len(lines) > 0 {
			s.write("/usr/lib/tmpfiles.d/"+s.p.Name+".conf", strings.Join(lines, "\n")+"\n")
		}
		s.script("postinstall", "postinst.sh")
		s.script("preremove", "prerm.sh")
		s.script("postremove", "postrm.sh")
	}
	return s.err
}

// texts adds manual pages and completions, which the programs of this machine and
// the READMEs of their modules say.
func (s *stage) texts() error {
	h, err := askProgram(s.ctx, filepath.Join(s.Programs, "linux-"+runtime.GOARCH), s.p.Name)
	if err != nil {
		return err
	}
	readme, err := os.ReadFile(s.Repo.File(s.p.Module, "README.md"))
	if err != nil {
		return err
	}
	s.writeMan(s.p.Name, h.man(s.p.Summary, string(readme), s.version()))
	for _, program := range s.p.Programs {
		s.writeMan(program, ".so man1/"+s.p.Name+".1\n")
	}
	functions := "vendor-completions" // of Debian's zsh alone
	if s.format == "rpm" {
		functions = "site-functions"
	}
	for shell, to := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/" + s.p.Name,
		"zsh":  "/usr/share/zsh/" + functions + "/_" + s.p.Name,
		"fish": "/usr/share/fish/vendor_completions.d/" + s.p.Name + ".fish",
	} {
		text, err := h.completion(s.ctx, shell)
		if err != nil {
			return err
		}
		s.write(to, text)
	}
	return nil
}

// script adds a script of packaging/scripts.
func (s *stage) script(when, name string) {
	text, err := os.ReadFile(s.Repo.File("packaging", "scripts", name))
	s.err = errors.Join(s.err, err)
	file := filepath.Join(s.dir, name)
	s.err = errors.Join(s.err, os.WriteFile(file, bytes.ReplaceAll(text, []byte("@NAME@"), []byte(s.p.Name)), 0o755))
	if s.scripts == nil {
		s.scripts = map[string]string{}
	}
	s.scripts[when] = file
}

func (s *stage) config() *nfpmConfig {
	c := &nfpmConfig{
		Name: s.p.Name, Arch: s.arch, Platform: "linux",
		Version: s.version(), Release: s.Release,
		Section: "net", Maintainer: "The Receptor developers",
		Description: s.p.Summary, Homepage: "https://" + workspace.Root, License: "Apache-2.0",
		Depends: s.p.Depends, Contents: s.contents, Scripts: s.scripts,
		RPM: nfpmRPM{BuildHost: "localhost"},
	}
	if s.p.Unit != nil && s.p.Unit.Exec == "" {
		c.Recommends = []string{"receptor-core"} // of whatever version: what works together is negotiated
	}
	return c
}
