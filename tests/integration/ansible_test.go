package integration

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// playbook waits in its middle for the test, and leaves word of each of its runs.
const playbook = `
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: begins
      ansible.builtin.shell: echo run >> FILES/runs
    - name: waits
      ansible.builtin.wait_for: {path: FILES/go, timeout: 120, sleep: 1}
    - name: goes on
      ansible.builtin.command: echo the word of the far node
      register: word
    - name: says it
      ansible.builtin.debug: {msg: "{{ word.stdout }}"}
`

// What users run: the three stages of ansible-runner, the middle one two hops away.
// Job events are there while the playbook runs, and its result is right; also when
// the core of the node that runs it, or of the hop, is killed half way.
func TestAnsibleRunner(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"ansible-runner", "ansible-playbook"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("skipped: needs ansible-runner (Debian: ansible-core, python3-ansible-runner): %v", err)
		}
	}
	r := startRemoteLine(t, "--work-command", "worktype=ansible-runner", "command=ansible-runner", "params=worker")
	for _, killed := range []string{"nobody", "c", "b"} {
		t.Run(killed+" is killed", func(t *testing.T) { r.play(t, killed) })
	}
}

// play runs the playbook once.
func (r *remoteLine) play(t *testing.T, killed string) {
	files, private, results := t.TempDir(), t.TempDir(), t.TempDir()
	for name, content := range map[string]string{
		"project/play.yml": strings.ReplaceAll(playbook, "FILES", files),
		"env/envvars":      "HOME: " + files + "\n", // where Ansible has files of its own
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(private, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(private, name), []byte(content), 0o600))
	}

	// transmit | submit --follow | process
	stage := func(name string, args ...string) *exec.Cmd {
		c := exec.CommandContext(r.ctx, name, args...)
		c.Env = append(r.Env(), "HOME="+files)
		return c
	}
	transmit := stage("ansible-runner", "transmit", private, "--playbook", "play.yml")
	submit := stage(r.Programs.Path("receptorctl"), "--socket", r.Socket("a"), "work", "submit", "--node", "c", "--payload", "-", "--follow", "--rm", "ansible-runner")
	process := stage("ansible-runner", "process", "--ident", "job", results)
	var said strings.Builder
	submit.Stderr = &said
	var err error
	submit.Stdin, err = transmit.StdoutPipe()
	must(t, err)
	process.Stdin, err = submit.StdoutPipe()
	must(t, err)
	var shown strings.Builder
	process.Stdout = &shown
	for _, c := range []*exec.Cmd{process, submit, transmit} {
		must(t, c.Start())
	}

	begun := func(task string) bool { return jobEvents(t, results)["runner_on_start "+task] != nil }
	for !begun("waits") {
		must(t, lab.Pause(r.ctx, pause))
	}
	if killed != "nobody" {
		r.kill(killed)
	}
	if begun("goes on") { // nobody has let it
		t.Error("the playbook did not wait")
	}
	must(t, os.WriteFile(filepath.Join(files, "go"), nil, 0o600))
	must(t, process.Wait())
	if err := errors.Join(submit.Wait(), transmit.Wait()); err != nil {
		t.Errorf("%v: %s", err, said.String())
	}

	artifacts := filepath.Join(results, "artifacts", "job")
	for name, want := range map[string]string{"rc": "0", "status": "successful"} {
		if got, err := os.ReadFile(filepath.Join(artifacts, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	events := jobEvents(t, results)
	if e := events["runner_on_ok says it"]; e == nil || e.Data.Res.Msg != "the word of the far node" {
		t.Errorf("what the playbook says: %+v", e)
	}
	stats := events["playbook_on_stats "]
	if stats == nil || stats.Data.OK["localhost"] != 4 || stats.Data.Changed["localhost"] != 2 {
		t.Errorf("the recap: %+v", stats)
	}
	if runs, err := os.ReadFile(filepath.Join(files, "runs")); err != nil || string(runs) != "run\n" {
		t.Errorf("it ran: %q, %v", runs, err)
	}
	if !strings.Contains(shown.String(), "the word of the far node") {
		t.Errorf("process has shown %q", shown.String())
	}
	for _, name := range []string{"runner_on_ok begins", "runner_on_start waits", "runner_on_ok waits", "playbook_on_stats "} {
		if e := events[name]; e != nil && stats != nil {
			t.Logf("%-22s was there %4d ms after it happened, and happened %5d ms before the end",
				name, e.there.Sub(e.happened).Milliseconds(), stats.happened.Sub(e.happened).Milliseconds())
		}
	}
	l, err := r.c.List(r.ctx)
	if err != nil || len(l.Units) > 0 {
		t.Errorf("it was to be released at the end: %+v, %v", l.Units, err)
	}
	r.forgotten()
}

// jobEvent is what ansible-runner keeps of an event.
type jobEvent struct {
	Event   string
	Counter int
	Created string
	Data    struct {
		Task        string
		Res         struct{ Msg any }
		OK, Changed map[string]int
	} `json:"event_data"`

	happened, there time.Time
}

// jobEvents are the events that have arrived, by kind and task.
func jobEvents(t *testing.T, dir string) map[string]*jobEvent {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "artifacts", "job", "job_events", "*.json"))
	must(t, err)
	events, seen := map[string]*jobEvent{}, map[int]bool{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		must(t, err)
		e := new(jobEvent)
		if json.Unmarshal(data, e) != nil {
			continue // it is being written
		}
		info, err := os.Stat(f)
		must(t, err)
		e.there = info.ModTime()
		e.happened, err = time.Parse("2006-01-02T15:04:05.999999", e.Created)
		must(t, err)
		if seen[e.Counter] {
			t.Errorf("event %d has come twice", e.Counter)
		}
		seen[e.Counter] = true
		events[e.Event+" "+e.Data.Task] = e
	}
	return events
}
