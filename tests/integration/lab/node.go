package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Lab holds nodes and processes, and ends them all.
type Lab struct {
	Programs Programs
	Dir      string // runtime and state of all nodes; short, for socket paths

	procs []*Process
}

// New makes a lab in a fresh directory.
func New(p Programs) (*Lab, error) {
	dir, err := os.MkdirTemp("", "rl")
	if err != nil {
		return nil, err
	}
	return &Lab{Programs: p, Dir: dir}, nil
}

// Close ends every process, the last first, and removes the directory.
func (l *Lab) Close() error {
	var errs []error
	for i := len(l.procs) - 1; i >= 0; i-- {
		errs = append(errs, l.procs[i].Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(l.Dir))...)
}

// Processes are those started so far.
func (l *Lab) Processes() []*Process { return l.procs }

// Env is the environment of a program of a node: the lab's directories, and
// nothing of the caller's own nodes.
func (l *Lab) Env() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "RECEPTOR") && !strings.HasPrefix(v, "XDG_") {
			env = append(env, v)
		}
	}
	// The race detector would have every program linger for a second at its end.
	return append(env, "GORACE=atexit_sleep_ms=0", "RUNTIME_DIRECTORY="+filepath.Join(l.Dir, "run"), "STATE_DIRECTORY="+filepath.Join(l.Dir, "state"))
}

// Start starts one of our programs.
func (l *Lab) Start(name string, args ...string) (*Process, error) {
	return l.StartAs(nil, name, args...)
}

// StartAs starts one of our programs after change has had the command.
func (l *Lab) StartAs(change func(*exec.Cmd), name string, args ...string) (*Process, error) {
	return l.StartOf(l.Programs, change, name, args...)
}

// StartOf is StartAs of a program of others than the lab's.
func (l *Lab) StartOf(programs Programs, change func(*exec.Cmd), name string, args ...string) (*Process, error) {
	cmd := exec.Command(programs.Path(name), args...)
	cmd.Env = l.Env()
	if change != nil {
		change(cmd)
	}
	p, err := Start(name, cmd)
	if err != nil {
		return nil, err
	}
	l.procs = append(l.procs, p)
	return p, nil
}

// Socket is a node's control socket.
func (l *Lab) Socket(node string) string { return filepath.Join(l.Dir, "run", node, "control.sock") }

// PlugSocket is a node's plug socket.
func (l *Lab) PlugSocket(node string) string { return filepath.Join(l.Dir, "run", node, "plug.sock") }

// Ctl runs receptorctl against a node and returns its standard output.
func (l *Lab) Ctl(ctx context.Context, node string, args ...string) (string, error) {
	return l.CtlAt(ctx, l.Socket(node), args...)
}

// CtlAt is Ctl of the node whose control socket that is.
func (l *Lab) CtlAt(ctx context.Context, socket string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.Programs.Path("receptorctl"), append([]string{"--socket", socket}, args...)...)
	cmd.Env = l.Env()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("receptorctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Status is what the tests look at in receptorctl status --json.
type Status struct {
	NodeID         string
	RoutingTable   map[string]string
	KnownCosts     map[string]map[string]float64 `json:"KnownConnectionCosts"`
	Epoch          uint64                        `json:"epoch,string"`
	Goroutines     int
	Advertisements []Advertisement
	Links          []Link            `json:"links"`
	Streams        []Stream          `json:"streams"`
	TLS            []Profile         `json:"tls"`
	Counters       map[string]uint64 `json:"counters"`
	Alarms         []Alarm           `json:"alarms"`
	Items          []Item            `json:"items"`
	Plugs          []Plug            `json:"plugs"`
}

// Link is the state of a link.
type Link struct {
	Peer, State, Mode   string
	Since               time.Time
	Authentication, TLS string
}

// Stream is the streams with a node that are alike.
type Stream struct{ Node, Service, Dir, Authentication, TLS string }

// Profile is a TLS profile.
type Profile struct {
	Kind, Name, Err, Warning string
	Nodes                    []string
	DaysLeft                 int `json:"days_left"`
	Loaded                   time.Time
}

// Alarm is what somebody should look into.
type Alarm struct {
	Alarm, Peer, Detail string
	Count               uint64
}

// Alarm returns an alarm by its name; one with a count of 0 if it was not raised.
func (s *Status) Alarm(name string) Alarm {
	for _, a := range s.Alarms {
		if a.Alarm == name {
			return a
		}
	}
	return Alarm{}
}

// Advertisement is a service that a node has told of.
type Advertisement struct {
	NodeID, Service string
	ConnType        int
	Tags            map[string]string
	WorkCommands    []struct {
		WorkType string
		Secure   bool
	}
}

// Advertisement returns what is known of a service, the zero Advertisement if
// nothing is.
func (s *Status) Advertisement(node, service string) Advertisement {
	for _, a := range s.Advertisements {
		if a.NodeID == node && a.Service == service {
			return a
		}
	}
	return Advertisement{}
}

// Item is the state of a configured item.
type Item struct{ Item, Kind, State, Addr, Err, Plug string }

// Plug is an attached plug.
type Plug struct {
	Name, Program, State string
	PID                  int
	Counters             map[string]uint64
}

// Plug returns an attached plug, the zero Plug if there is none of that name.
func (s *Status) Plug(name string) Plug {
	for _, p := range s.Plugs {
		if p.Name == name {
			return p
		}
	}
	return Plug{}
}

// Item returns the item whose identity starts with that, the zero Item if there
// is none. Further key parameters may follow: "tcp-listener port=1 bindaddr=::1".
func (s *Status) Item(id string) Item {
	for _, i := range s.Items {
		if i.Item == id || strings.HasPrefix(i.Item, id+" ") {
			return i
		}
	}
	return Item{}
}

// PingAt has the node whose control socket that is ping another once.
func (l *Lab) PingAt(ctx context.Context, socket, to string) (string, error) {
	return l.CtlAt(ctx, socket, "ping", "--count", "1", to)
}

// badStatus is an answer that makes no sense: waiting will not mend it.
type badStatus struct{ error }

// Status asks a node for its status.
func (l *Lab) Status(ctx context.Context, node string) (*Status, error) {
	return l.StatusAt(ctx, l.Socket(node))
}

// StatusAt asks the node whose control socket that is.
func (l *Lab) StatusAt(ctx context.Context, socket string) (*Status, error) {
	out, err := l.CtlAt(ctx, socket, "status", "--json")
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if err := json.Unmarshal([]byte(out), s); err != nil {
		return nil, &badStatus{fmt.Errorf("status at %s: %w in %q", socket, err, out)}
	}
	return s, nil
}

// PollEvery is how often a condition over a node's status is looked at again:
// receptorctl has no push yet, and a look costs a process.
const PollEvery = 100 * time.Millisecond

// WaitStatus waits until ok holds of a node's status.
func (l *Lab) WaitStatus(ctx context.Context, node string, ok func(*Status) bool) error {
	var last string
	for {
		s, err := l.Status(ctx, node)
		var bad *badStatus
		switch {
		case errors.As(err, &bad):
			return err
		case err != nil:
			last = err.Error()
		case ok(s):
			return nil
		default:
			data, err := json.Marshal(s)
			if err != nil {
				return err
			}
			last = string(data)
		}
		if err := Pause(ctx, PollEvery); err != nil {
			return fmt.Errorf("status of %s: %w; last: %s", node, err, last)
		}
	}
}

// Pause waits for d or the context's end.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitRoute waits until a node has a route to each of the others.
func (l *Lab) WaitRoute(ctx context.Context, node string, to ...string) error {
	return l.WaitStatus(ctx, node, func(s *Status) bool {
		for _, t := range to {
			if s.RoutingTable[t] == "" {
				return false
			}
		}
		return true
	})
}

// FreePort returns a TCP port of loopback that nobody listens on, from the kernel. For a minute the kernel gives
// it to nobody else who asks for any port, neither to listen on nor to dial from: a connection of it, ended from
// its side, waits out its time. A program that listens on the port by its number may have it at once.
func FreePort() (int, error) {
	if runtime.GOOS == "linux" { // where sockets are made without this lock
		// Nobody forks meanwhile: a child would have the listener as long as it has not executed its program.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	accepted, err := l.Accept()
	if err != nil {
		return 0, err
	}
	accepted.Close() // first, so that it is the port's side that waits
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Local is a loopback address.
func Local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
