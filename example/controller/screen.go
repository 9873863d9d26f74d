package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/project-receptor/receptor/workceptor/client"
)

const (
	barPause  = 100 * time.Millisecond
	linePause = 10 * time.Second // where there is no terminal
	barWidth  = 30
)

// screen prints responses, and keeps a bar below them that says how far it all is; a
// line now and then where stderr is no terminal. Its methods may be called concurrently.
type screen struct {
	stdout   io.Writer
	stderr   *os.File
	terminal bool
	units    int
	began    time.Time

	mu                    sync.Mutex // guards what follows
	running, done, failed int
	shown                 bool // there is a bar
}

func newScreen(stdout io.Writer, stderr *os.File, units int) *screen {
	return &screen{stdout: stdout, stderr: stderr, units: units, terminal: term.IsTerminal(int(stderr.Fd())), began: time.Now()}
}

// start keeps the bar, or the lines, until stop is called, which waits.
func (s *screen) start() (stop func()) {
	every := linePause
	if s.terminal {
		every = barPause
	}
	stopped := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-tick.C:
				s.print(s.stderr, "")
			}
		}
	})
	return func() {
		close(stopped)
		ticking.Wait()
	}
}

// response prints a line that a unit has written.
func (s *screen) response(r client.Response, node string, n int) {
	to := s.stdout
	if r.Stream == client.Stderr {
		to = s.stderr
	}
	s.print(to, fmt.Sprintf("%s %d: %s\n", node, n, r.Line))
}

// note prints what somebody should know meanwhile.
func (s *screen) note(text string) { s.print(s.stderr, "controller: "+text+"\n") }

// print prints text above the bar; none: the bar, or the line that stands for it.
func (s *screen) print(to io.Writer, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == "" && !s.terminal {
		text = s.progress() + "\n"
	}
	s.clear()
	write(to, text)
	if s.terminal {
		write(s.stderr, s.bar())
		s.shown = true
	}
}

// clear takes the bar away.
func (s *screen) clear() {
	if s.shown {
		write(s.stderr, "\r\x1b[K")
		s.shown = false
	}
}

// write writes for people. When they are gone, SIGPIPE ends the program.
func write(to io.Writer, text string) { _, _ = io.WriteString(to, text) }

// bar is progress with a bar, as much as there is room for.
func (s *screen) bar() string {
	width, _, err := term.GetSize(int(s.stderr.Fd()))
	if err != nil {
		width = 80
	}
	done := barWidth * (s.done + s.failed) / s.units
	text := "[" + strings.Repeat("#", done) + strings.Repeat(".", barWidth-done) + "] " + s.progress()
	return text[:min(len(text), max(0, width-1))] // one that is broken could not be taken away
}

// progress says how far it is.
func (s *screen) progress() string {
	ended := s.done + s.failed
	text := fmt.Sprintf("%d/%d units, %d running", ended, s.units, s.running)
	if s.failed > 0 {
		text += fmt.Sprintf(", %d failed", s.failed)
	}
	if took := time.Since(s.began); ended > 0 && ended < s.units {
		text += ", " + (took / time.Duration(ended) * time.Duration(s.units-ended)).Round(time.Second).String() + " left"
	}
	return text
}

// begun, putBack and ended count the units.
func (s *screen) begun()   { s.count(1, 0, 0) }
func (s *screen) putBack() { s.count(-1, 0, 0) }
func (s *screen) ended(well bool) {
	if well {
		s.count(-1, 1, 0)
	} else {
		s.count(-1, 0, 1)
	}
}

func (s *screen) count(running, done, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.done, s.failed = s.running+running, s.done+done, s.failed+failed
}

// summary is the last word.
func (s *screen) summary(failures []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	for _, f := range failures {
		write(s.stderr, f+"\n")
	}
	write(s.stderr, fmt.Sprintf("controller: %d of %d units succeeded, %d failed, in %s\n",
		s.done, s.units, s.failed, time.Since(s.began).Round(10*time.Millisecond)))
}
