//go:build unix

package session_test

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// chunk is a write of the fuzzed side: its length, how many descriptors go with it, and
// the bytes.
func chunk(fds byte, b []byte) []byte { return append([]byte{byte(len(b)), fds}, b...) }

// FuzzDescriptors: however frames and descriptors come, cut and mixed, the session ends,
// a handler is given as many as its frame claims or none, and none is left open.
func FuzzDescriptors(f *testing.F) {
	link := frameWith(wire.TypeLink, 0, 1, 1, `{}`)
	f.Add(chunk(1, link))
	f.Add(chunk(2, link))                                                                             // one that nobody claims
	f.Add(chunk(0, link))                                                                             // none came
	f.Add(slices.Concat(chunk(0, link[:3]), chunk(1, link[3:])))                                      // on a later byte
	f.Add(slices.Concat(chunk(3, frameWith(wire.TypeStart, 0, 3, 3, `{}`)), chunk(1, link)))          // in order
	f.Add(slices.Concat(chunk(5, frameWith(wire.TypeKeep, 0, 5, 5, `{}`))))                           // too many
	f.Add(slices.Concat(chunk(1, frameWith(wire.TypeLink, wire.FlagResponse, 2, 1, `{}`))))           // with an answer to nothing
	f.Add(slices.Concat(chunk(1, frameWith(wire.TypeCancel, 0, 0, 1, `{"id":1}`)), chunk(4, link)))   // with a notification
	f.Add(slices.Concat(chunk(4, slices.Concat(frameWith(wire.TypeKeep, 0, 7, 2, `{}`), link)[:20]))) // cut
	f.Fuzz(func(t *testing.T, script []byte) {
		raw, c := unixPair(t)
		s := session.New(session.Config{Conn: c, Side: session.SideCore, Handler: func(_ context.Context, r *session.Request) (any, error) {
			if n := len(r.Files); n > wire.MaxFDs {
				t.Errorf("%s came with %d descriptors", r.Type, n)
			}
			for _, file := range r.Files {
				if _, err := file.Stat(); err != nil {
					t.Errorf("%s came with a descriptor that is none: %v", r.Type, err)
				}
			}
			return session.Answer{Files: r.TakeFiles()}, nil
		}})
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			drain(raw.(*net.UnixConn))
		}()
		left, pass, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer left.Close()
		go func() {
			play(raw.(*net.UnixConn), script, pass)
			_ = pass.Close()
			_ = raw.(*net.UnixConn).CloseWrite()
		}()
		if s.Run(context.Background()) == nil {
			t.Error("Run = nil, nobody closed")
		}
		<-drained
		_ = raw.Close()
		if b, err := io.ReadAll(left); len(b) != 0 || err != nil { // waits while one is open
			t.Errorf("read %q, %v", b, err)
		}
	})
}

// play writes the chunks of a script.
func play(c *net.UnixConn, script []byte, pass *os.File) {
	const most = 64 // descriptors: the system allows as many on their way
	sent := 0
	for len(script) >= 2 {
		n, k := min(int(script[0]), len(script)-2), int(script[1]%8)
		b := script[2 : 2+n]
		script = script[2+n:]
		if sent += k; n == 0 || sent > most {
			continue
		}
		var rights []byte
		if k > 0 {
			rights = syscall.UnixRights(slices.Repeat([]int{int(pass.Fd())}, k)...)
		}
		if _, _, err := c.WriteMsgUnix(b, rights, nil); err != nil {
			return // the session has ended
		}
	}
}

// drain reads what the session says, and closes the descriptors that come.
func drain(c *net.UnixConn) {
	b, rights := make([]byte, 4096), make([]byte, syscall.CmsgSpace(16*4))
	for {
		n, oob, _, _, err := c.ReadMsgUnix(b, rights)
		if err != nil || n == 0 {
			return
		}
		messages, err := syscall.ParseSocketControlMessage(rights[:oob])
		if err != nil {
			continue
		}
		for i := range messages {
			fds, err := syscall.ParseUnixRights(&messages[i])
			if err != nil {
				continue
			}
			for _, fd := range fds {
				_ = syscall.Close(fd)
			}
		}
	}
}
