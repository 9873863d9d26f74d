package ctl

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
)

// writeUnit prints a unit for people.
func (a *app) writeUnit(u client.Status) error {
	var rows table
	add := func(key, format string, args ...any) {
		rows = append(rows, []string{key, fmt.Sprintf(format, args...)})
	}
	when := func(key string, t time.Time) {
		if !t.IsZero() {
			add(key, "%s", t.Local().Format("2006-01-02 15:04:05.000"))
		}
	}
	add("Unit", "%s", u.ID)
	add("Type", "%s", u.Type)
	add("State", "%s", stateText(u))
	add("Detail", "%s", u.Detail)
	if u.Exit != nil {
		add("Exit", "%s", exitText(u))
	}
	if u.Reason != "" {
		add("Reason", "%s", u.Reason)
	}
	if u.PID != 0 {
		add("PID", "%d", u.PID)
	}
	if u.Worker != "" {
		add("Worker", "%s", u.Worker)
	}
	for _, name := range slices.Sorted(maps.Keys(u.Params)) {
		add("Parameter", "%s=%s", name, u.Params[name])
	}
	if u.Submission != "" {
		add("Submission", "%s", u.Submission)
	}
	when("Created", u.Created)
	when("Started", u.Started)
	when("Ended", u.Ended)
	add("Stdin", "%s", outputText(u.Stdin.Size, u.Stdin.SHA256))
	add("Stdout", "%s", outputText(u.Stdout.Size, u.Stdout.SHA256))
	if !u.Merged {
		add("Stderr", "%s", outputText(u.Stderr.Size, u.Stderr.SHA256))
	}
	for _, h := range u.History {
		add("History", "%s  %s: %s", h.At.Local().Format("2006-01-02 15:04:05.000"), h.What, h.Detail)
	}
	var b bytes.Buffer
	rows.write(&b)
	_, err := a.Stdout.Write(b.Bytes())
	return err
}

func stateText(u client.Status) string {
	words := []string{string(u.State)}
	if u.Phase != "" {
		words = append(words, string(u.Phase))
	}
	if u.Position > 0 {
		words = append(words, fmt.Sprintf("%d. in the queue", u.Position))
	}
	if u.CancelAsked && !u.State.Final() {
		words = append(words, "its end is wanted")
	}
	return strings.Join(words, ", ")
}

func exitText(u client.Status) string {
	text := fmt.Sprintf("status %d", u.Exit.Code)
	if u.Exit.Signal != "" {
		text = "by " + u.Exit.Signal
	}
	if u.Exit.OOMKilled {
		text += ", out of memory"
	}
	return text
}

func outputText(size int64, sum string) string {
	text := fmt.Sprintf("%d bytes", size)
	if sum != "" {
		text += ", SHA-256 " + sum
	}
	return text
}
