package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// The chat is as the README of this module shows it.
func TestChat(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	const want = `alice: hello bob
bob: you said: HELLO BOB
alice: how are you?
bob: you said: HOW ARE YOU?
alice, on a note: see you
bob:notes: you said: SEE YOU
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want) {
		t.Error("README.md shows another chat")
	}
}

// A mistake in an item is told, not waited for.
func TestItemThatCannotBe(t *testing.T) {
	t.Parallel()
	m, err := newMember("mistaken", "tcp-listener", map[string]any{"bindaddr": "127.0.0.1", "port": "nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if addr, err := m.address(ctx); err == nil || !strings.Contains(err.Error(), "port") {
		t.Errorf("got address %q and error %v, want one that names the parameter", addr, err)
	}
}
