package workceptor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// Legacy nodes run units of ours, too, by the conversation that they have with each
// other. They tell of nothing by themselves: one connection asks for the units, often
// while something happens and seldom else. And they know no submissions: a request
// whose answer was lost is not repeated, the unit is Lost.

const (
	// pollMin and pollMax are the pauses between two questions. Legacy nodes ask once
	// a second.
	pollMin = 50 * time.Millisecond
	pollMax = time.Second

	// legacyGreeting is how long a legacy node may take to greet, as between them.
	legacyGreeting = 5 * time.Second
	// legacyAnswer is how long an answer may take. A cancel takes as long as the unit.
	legacyAnswer = time.Minute

	// maxLegacyLine bounds an answer. The longest is a status with its parameters.
	maxLegacyLine = 1 << 20
)

// legacyTalk is a conversation with a legacy node.
type legacyTalk struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
	stop func() bool
}

// talk begins one. It is cut when ctx is done.
func (n *remoteNode) talk(ctx context.Context, dial func(context.Context) (io.ReadWriteCloser, error)) (*legacyTalk, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	v := &legacyTalk{conn: conn, in: bufio.NewReaderSize(conn, resultsBuffer)}
	v.stop = context.AfterFunc(ctx, func() { reset(conn) }) // a payload must not look whole
	line, err := v.line(legacyGreeting)
	if err == nil && !strings.Contains(line, n.node) {
		err = fmt.Errorf("its greeting does not name it: %.100q", line)
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *legacyTalk) close() {
	v.stop()
	_ = v.conn.Close() // what matters has been read
}

// line reads a line without its end.
func (v *legacyTalk) line(timeout time.Duration) (string, error) {
	late := time.AfterFunc(timeout, func() { reset(v.conn) })
	defer late.Stop()
	var line []byte
	for {
		part, err := v.in.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxLegacyLine {
			return "", errors.New("its answer is too long")
		}
		if err == nil {
			return strings.TrimSuffix(string(line), "\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// ask sends a line and reads the answer to it.
func (v *legacyTalk) ask(line []byte) (string, error) {
	if _, err := v.conn.Write(append(line, '\n')); err != nil {
		return "", err
	}
	return v.line(legacyAnswer)
}

// legacyLine is a command with its keys in order, as legacy nodes write them.
func legacyLine(keys map[string]any) []byte {
	keys["command"] = "work"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	_ = e.Encode(keys) // strings and numbers never fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// legacyStatus is what a legacy node tells of a unit.
type legacyStatus struct {
	State      int
	Detail     string
	StdoutSize int64
}

// watchLegacy asks for the units that the node has, until it does not answer.
func (n *remoteNode) watchLegacy(ctx context.Context) (there bool, err error) {
	v, err := n.talk(ctx, func(ctx context.Context) (io.ReadWriteCloser, error) { return n.w.c.Mesh.Dial(ctx, n.node, n.tls) })
	if err != nil {
		return false, err
	}
	defer v.close()
	n.arrived()
	for pause := pollMin; ; {
		asked, news, err := n.poll(v)
		if err != nil {
			return true, err
		}
		pause = min(2*pause, pollMax)
		if news {
			pause = pollMin
		}
		wait := time.After(pause)
		if asked == 0 {
			wait = nil // until there is something to ask for
		}
		select {
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case <-n.news:
			pause = pollMin
		case <-wait:
		}
	}
}

// poll asks once for each unit.
func (n *remoteNode) poll(v *legacyTalk) (asked int, news bool, err error) {
	n.mu.Lock()
	var all []*remoteUnit
	for _, ru := range n.units {
		if ru.remote != "" && !ru.over {
			all = append(all, ru)
		}
	}
	n.mu.Unlock()
	for _, ru := range all {
		remote := n.remoteID(ru)
		line, err := v.ask([]byte("work status " + remote))
		if err != nil {
			return asked, news, err
		}
		asked++
		var s legacyStatus
		switch {
		case strings.HasPrefix(line, "ERROR") && strings.Contains(line, "unknown work unit"):
			n.lost(ru, "Remote work unit is gone")
			news = true
		case strings.HasPrefix(line, "ERROR"):
			n.w.log.Warn("a node does not tell of a unit", "node", n.node, "unit", ru.id, "answer", line)
		default:
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				return asked, news, fmt.Errorf("its answer is no status: %w", err)
			}
			news = n.heardLegacy(ru, s) || news
		}
	}
	return asked, news, nil
}

// heardLegacy notes how a unit fares, and tells whether that is news.
func (n *remoteNode) heardLegacy(ru *remoteUnit, s legacyStatus) (news bool) {
	n.mu.Lock()
	news = ru.told != s
	ru.told = s
	r := ru.report
	if r.State == ReportStarting || r.State == ReportRunning {
		r = Report{Unit: ru.id, State: ReportStarting, Handle: state.RemoteHandle(ru.remote), Detail: s.Detail, Stdout: ru.report.Stdout}
		if s.State != 0 {
			r.State = ReportRunning // if it has ended, until its results are here
		}
		ru.report = r
	}
	ended := s.State >= 2
	fetch := !ru.fetching && !ru.over && (ended || s.StdoutSize > r.Stdout)
	ru.fetching = ru.fetching || fetch
	if s.State == 4 && ru.stream != nil && r.Stdout >= s.StdoutSize {
		ru.stream() // theirs never ends
	}
	n.mu.Unlock()
	if news {
		n.say(ru)
	}
	if fetch {
		n.w.task(func() { n.fetchLegacy(ru) })
	}
	return news
}

var legacyID = regexp.MustCompile(`with ID ([a-zA-Z0-9]+)\.`)

// submitLegacy has a legacy node have a unit: once.
func (n *remoteNode) submitLegacy(ctx context.Context, ru *remoteUnit, stdin io.Reader) {
	for {
		v, err := n.talk(ctx, n.dial)
		if err == nil {
			n.submitOnce(ru, v, stdin)
			v.close()
			return
		}
		select { // nothing was sent
		case <-ctx.Done():
			return
		case <-time.After(lastPause):
		}
	}
}

func (n *remoteNode) submitOnce(ru *remoteUnit, v *legacyTalk, stdin io.Reader) {
	keys := make(map[string]any)
	for key, value := range ru.spec.Params {
		keys[key] = value
	}
	keys["node"], keys["subcommand"], keys["tlsclient"], keys["worktype"] = n.node, "submit", ru.spec.Remote.TLSClient, ru.spec.WorkType
	if err := n.legacyToken(ru.spec.Remote.Sign, keys); err != nil {
		n.refused(ru, err)
		return
	}
	line, err := v.ask(legacyLine(keys))
	if err != nil {
		n.lost(ru, fmt.Sprintf("whether node %s has it is not known: %v", n.node, err))
		return
	}
	id := legacyID.FindStringSubmatch(line)
	if id == nil {
		n.refused(ru, fmt.Errorf("could not parse response: %s", line))
		return
	}
	n.mu.Lock()
	ru.remote = id[1]
	ru.report.Handle = state.RemoteHandle(id[1])
	n.mu.Unlock()
	n.say(ru)
	_, err = io.Copy(v.conn, stdin)
	if err == nil {
		if c, ok := v.conn.(interface{ CloseWrite() error }); ok {
			err = c.CloseWrite()
		}
	}
	if err != nil {
		// What it has is not whole, and must not look so.
		reset(v.conn)
		n.lost(ru, "its payload did not reach the node whole: "+err.Error())
		return
	}
	if line, err = v.line(legacyAnswer); err == nil && strings.HasPrefix(line, "ERROR: ") {
		n.refused(ru, errors.New(strings.TrimPrefix(line, "ERROR: ")))
		return
	}
	select { // a lost answer does no harm: what has become of it is asked for
	case n.news <- struct{}{}:
	default:
	}
}

// lost is for a unit of which nobody will hear any more.
func (n *remoteNode) lost(ru *remoteUnit, reason string) {
	n.mu.Lock()
	ru.over = true
	ru.report = Report{Unit: ru.id, State: ReportLost, Reason: reason}
	n.mu.Unlock()
	n.say(ru)
}

// tellLegacy cancels or releases a unit.
func (n *remoteNode) tellLegacy(ctx context.Context, sub, remote string, sign bool) error {
	for {
		v, err := n.talk(ctx, n.dial)
		if err == nil {
			keys := map[string]any{"subcommand": sub, "unitid": remote}
			if err := n.legacyToken(sign, keys); err != nil {
				v.close()
				return err
			}
			var line string
			line, err = v.ask(legacyLine(keys))
			v.close()
			if err == nil && strings.HasPrefix(line, "ERROR") {
				if strings.Contains(line, "unknown work unit") {
					return nil
				}
				return errors.New(line)
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lastPause):
		}
	}
}

// fetchLegacy brings what a unit has written, and ends it when that is all.
func (n *remoteNode) fetchLegacy(ru *remoteUnit) {
	f, err := n.w.store.OpenFile(ru.id, store.Stdout, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		n.lost(ru, err.Error())
		return
	}
	defer f.Close() // who measures syncs
	info, err := f.Stat()
	if err != nil {
		n.lost(ru, err.Error())
		return
	}
	at := info.Size()
	for ru.ctx.Err() == nil {
		n.mu.Lock()
		ru.report.Stdout = at
		s := ru.told
		have, ended := at >= s.StdoutSize, s.State >= 2
		if have {
			ru.fetching = false
			ru.over = ended
		}
		n.mu.Unlock()
		if have {
			if ended {
				n.ended(ru, s.status(n.remoteID(ru)), nil)
			}
			return
		}
		before := at
		err := n.stream(ru, at, func(b []byte) error {
			if _, err := f.WriteAt(b, at); err != nil {
				return err
			}
			at += int64(len(b))
			n.mu.Lock()
			ru.report.Stdout = at
			n.mu.Unlock()
			if u, err := n.w.store.Get(ru.id); err == nil && u.State == Running {
				n.w.grow(Report{Unit: ru.id, Stdout: at})
			}
			return nil
		})
		if err != nil && ru.ctx.Err() == nil {
			n.w.log.Debug("the results of a unit were cut off", "node", n.node, "unit", ru.id, "error", err)
		}
		if at > before {
			continue
		}
		select {
		case <-ru.ctx.Done():
		case <-time.After(pollMax):
		}
	}
}

// stream reads results from a byte, to the end of one connection.
func (n *remoteNode) stream(ru *remoteUnit, from int64, each func([]byte) error) error {
	ctx, cancel := context.WithCancel(ru.ctx)
	defer cancel()
	v, err := n.talk(ctx, n.dial)
	if err != nil {
		return err
	}
	defer v.close()
	keys := map[string]any{"subcommand": "results", "startpos": from, "unitid": n.remoteID(ru)}
	if err := n.legacyToken(ru.spec.Remote.Sign, keys); err != nil {
		return err
	}
	line, err := v.ask(legacyLine(keys))
	if err != nil {
		return err
	}
	if !strings.Contains(line, "Streaming results") {
		return errors.New(line)
	}
	n.mu.Lock()
	ru.stream = cancel
	n.mu.Unlock()
	buf := make([]byte, resultsBuffer)
	for {
		k, err := v.in.Read(buf)
		if k > 0 {
			if err := each(buf[:k]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// status is how a unit has ended.
func (s legacyStatus) status(remote string) client.Status {
	u := client.Status{ID: remote, Detail: s.Detail, Reason: s.Detail}
	switch s.State {
	case 2:
		u.State, u.Exit, u.Reason = Succeeded, new(Exit), ""
	case 4:
		u.State = Canceled
	default:
		u.State = Failed
		if exit, ok := state.ParseExit(s.Detail); ok {
			u.Exit, u.Reason = &exit, ""
		} else {
			u.State = Lost // it may have run
		}
	}
	return u
}
