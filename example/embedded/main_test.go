package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// It prints what the README of this module shows.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, t.TempDir(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `HELLO
IS ANYBODY THERE?
succeeded on there
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want) {
		t.Error("README.md shows something else")
	}
}

// What cannot be is an error, and leaves nothing behind.
func TestNodeThatCannotBe(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(ctx, file, new(bytes.Buffer)); err == nil {
		t.Error("units were kept in a file")
	}
	if n, err := startNode("localhost", t.TempDir(), nil); err == nil {
		t.Errorf("a node of a name that means another: %v", n.close())
	}
}
