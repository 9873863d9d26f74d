package ctl

import (
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// progressAfter is how long something may take before it is worth a bar.
	progressAfter = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// progress is a line on the terminal that says how far something has got. nil is none.
// One goroutine uses it.
type progress struct {
	to          io.Writer
	start, last time.Time
	shown       bool
}

// progress returns one if somebody sees it, and it spoils nothing.
func (a *app) progress(wanted bool) *progress {
	f, ok := a.Stderr.(*os.File)
	if !ok || !wanted || a.json || !isTerminal(f) {
		return nil
	}
	return &progress{to: f, start: time.Now()}
}

// isFile tells whether what is written to w is not seen on a terminal.
func isFile(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && !isTerminal(f)
}

// at says how many bytes of all are done; all is 0 if that is not known.
func (p *progress) at(n, all int64) {
	if p == nil || time.Since(p.start) < progressAfter || time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.shown = time.Now(), true
	rate := float64(n) / time.Since(p.start).Seconds()
	bar := ""
	if all > 0 {
		const width = 30
		done := int(min(n, all) * width / all)
		bar = fmt.Sprintf("[%-*.*s] %3d %%  ", width, done, "##############################", min(n, all)*100/all)
	}
	_, _ = fmt.Fprintf(p.to, "\r\x1b[K%s%s  %s/s", bar, size(n), size(int64(rate))) // it is only for looking at
}

// end takes the line away.
func (p *progress) end() {
	if p != nil && p.shown {
		_, _ = fmt.Fprint(p.to, "\r\x1b[K")
	}
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// counter shows how much was written.
type counter struct {
	io.Writer
	bar    *progress
	all, n int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	c.bar.at(c.n, c.all)
	return n, err
}
