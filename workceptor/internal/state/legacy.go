package state

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Legacy is the state as legacy nodes number and name it. They know no Lost.
func (s State) Legacy() (code int, name string) {
	switch s {
	case Running:
		return 1, "Running"
	case Succeeded:
		return 2, "Succeeded"
	case Failed, Lost:
		return 3, "Failed"
	case Canceled:
		return 4, "Canceled"
	default:
		return 0, "Pending"
	}
}

// RunningText is the detail of a unit that runs: of its process, as legacy nodes say
// it, and what its worker says of it.
func RunningText(pid int, detail string) string {
	switch {
	case pid != 0 && detail != "":
		return fmt.Sprintf("Running: PID %d, %s", pid, detail)
	case pid != 0:
		return fmt.Sprintf("Running: PID %d", pid)
	case detail != "":
		return detail
	}
	return "Running"
}

// endText is the detail of a unit that ended in u.State, as legacy clients know
// and match it.
func (u *Unit) endText(e Event) string {
	switch {
	case u.State == Canceled:
		return "Canceled"
	case u.State == Lost:
		return "Lost: " + e.Reason
	case e.Kind == Exited:
		return u.Exit.String()
	case e.Kind == Refused:
		return "Error starting worker: " + e.Reason
	}
	return e.Reason
}

// String is the end of a process as Go says it, which is what legacy nodes show.
func (e Exit) String() string {
	if e.Signal == "" {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	if text, ok := signalTexts[e.Signal]; ok {
		return "signal: " + text
	}
	return "signal: " + strings.ToLower(strings.TrimPrefix(e.Signal, "SIG"))
}

// signalTexts are those of Linux.
var signalTexts = map[string]string{
	"SIGABRT":   "aborted",
	"SIGALRM":   "alarm clock",
	"SIGBUS":    "bus error",
	"SIGFPE":    "floating point exception",
	"SIGHUP":    "hangup",
	"SIGILL":    "illegal instruction",
	"SIGINT":    "interrupt",
	"SIGKILL":   "killed",
	"SIGPIPE":   "broken pipe",
	"SIGQUIT":   "quit",
	"SIGSEGV":   "segmentation fault",
	"SIGSTKFLT": "stack fault",
	"SIGSYS":    "bad system call",
	"SIGTERM":   "terminated",
	"SIGTRAP":   "trace/breakpoint trap",
	"SIGUSR1":   "user defined signal 1",
	"SIGUSR2":   "user defined signal 2",
	"SIGXCPU":   "CPU time limit exceeded",
	"SIGXFSZ":   "file size limit exceeded",
}

// LegacyStatus is what legacy nodes tell of a unit, in the order in which they
// write it into the file status.
type LegacyStatus struct {
	State      int
	Detail     string
	StdoutSize int64
	WorkType   string
	ExtraData  any
}

// Legacy is the status of a unit, of whose stdout so much is known to be there.
func (u *Unit) Legacy(s Spec, stdout int64) LegacyStatus {
	code, _ := u.State.Legacy()
	status := LegacyStatus{State: code, Detail: u.Detail, StdoutSize: stdout, WorkType: s.WorkType}
	if s.Remote != nil {
		status.WorkType, status.ExtraData = "remote", u.legacyRemote(s)
		return status
	}
	if u.State == Running {
		status.ExtraData = struct {
			Pid    int
			Params string
		}{u.PID, s.Params["params"]}
	}
	return status
}

// legacyRemote is what legacy nodes tell of a unit that another node runs.
func (u *Unit) legacyRemote(s Spec) any {
	extra := struct {
		RemoteNode     string
		RemoteWorkType string
		RemoteParams   map[string]string
		RemoteUnitID   string
		RemoteStarted  bool
		LocalCancelled bool
		LocalReleased  bool
		SignWork       bool
		TLSClient      string
		Expiration     time.Time
	}{
		RemoteNode: s.Remote.Node, RemoteWorkType: s.WorkType, RemoteParams: s.Params,
		RemoteUnitID: RemoteUnit(u.Handle), RemoteStarted: len(u.Handle) > 0,
		LocalCancelled: u.CancelAsked, LocalReleased: u.ReleaseAsked, SignWork: s.Remote.Sign, TLSClient: s.Remote.TLSClient,
	}
	if s.Remote.TTL > 0 {
		extra.Expiration = s.Created.Add(s.Remote.TTL)
	}
	if extra.RemoteParams == nil {
		extra.RemoteParams = map[string]string{}
	}
	return extra
}

// remoteHandle is the handle of a unit that another node runs.
type remoteHandle struct {
	Unit string `json:"remote_unit"`
}

// RemoteHandle is the handle of a unit that another node knows by that ID.
func RemoteHandle(unit string) json.RawMessage {
	b, _ := json.Marshal(remoteHandle{unit}) // never fails
	return b
}

// RemoteUnit is the ID in such a handle, empty if there is none.
func RemoteUnit(handle json.RawMessage) string {
	var h remoteHandle
	if json.Unmarshal(handle, &h) != nil {
		return ""
	}
	return h.Unit
}

// ParseExit reads the end of a process as String writes it.
func ParseExit(text string) (e Exit, ok bool) {
	if code, is := strings.CutPrefix(text, "exit status "); is {
		n, err := strconv.Atoi(code)
		return Exit{Code: n}, err == nil
	}
	text, is := strings.CutPrefix(text, "signal: ")
	if !is {
		return e, false
	}
	for signal, known := range signalTexts {
		if known == text {
			return Exit{Signal: signal}, true
		}
	}
	return e, false
}
