package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/exp/apidiff"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// apiChanges compares what a module exports in the tree with what it exported at a tag.
func apiChanges(ctx context.Context, r *workspace.Repo, m *workspace.Module, tag string) (_ apidiff.Report, err error) {
	tmp, err := os.MkdirTemp("", "api")
	if err != nil {
		return apidiff.Report{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	// The siblings of then come with it: their types are named in its own.
	tree := filepath.Join(tmp, "tree")
	if _, err := output(ctx, r.Dir, nil, "git", "worktree", "add", "--detach", tree, tag); err != nil {
		return apidiff.Report{}, err
	}
	defer func() {
		_, rerr := output(context.WithoutCancel(ctx), r.Dir, nil, "git", "worktree", "remove", "--force", tree)
		err = errors.Join(err, rerr)
	}()
	before, err := exported(ctx, m, filepath.Join(tree, filepath.FromSlash(m.Dir)))
	if err != nil {
		return apidiff.Report{}, fmt.Errorf("API at %s: %w", tag, err)
	}
	now, err := exported(ctx, m, r.File(m.Dir))
	if err != nil {
		return apidiff.Report{}, fmt.Errorf("API: %w", err)
	}
	return apidiff.ModuleChanges(before, now), nil
}

// exported reads the packages of module m in dir that others can import.
func exported(ctx context.Context, m *workspace.Module, dir string) (*apidiff.Module, error) {
	out, err := output(ctx, dir, nil, "go", "list", "-export", "-deps", "-buildvcs=false", "-json=ImportPath,Name,Export", "./...")
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	var paths []string
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p struct{ ImportPath, Name, Export string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		files[p.ImportPath] = p.Export
		ours := p.ImportPath == m.Path || strings.HasPrefix(p.ImportPath, m.Path+"/")
		if ours && p.Name != "main" && !slices.Contains(strings.Split(p.ImportPath, "/"), "internal") {
			paths = append(paths, p.ImportPath)
		}
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(files[path])
	})
	api := &apidiff.Module{Path: m.Path}
	for _, path := range paths {
		pkg, err := imp.Import(path)
		if err != nil {
			return nil, err
		}
		api.Packages = append(api.Packages, pkg)
	}
	return api, nil
}
