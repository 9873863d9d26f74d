//go:build unix && !aix

package adopted

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// pair returns an application's end of a connection, and the file that its
// other end is handed over as.
func pair(t testing.TB, network string) (app net.Conn, given *os.File) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "adopted") // t.TempDir is too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	type result struct {
		c   net.Conn
		err error
	}
	dialled := make(chan result, 1)
	go func() {
		c, err := net.Dial(network, l.Addr().String())
		dialled <- result{c, err}
	}()
	plug, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r := <-dialled
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { _ = r.c.Close() })
	if err := r.c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return r.c, file(t, plug)
}

// file is the socket of c, whose owner closes its own.
func file(t testing.TB, c interface{ Close() error }) *os.File {
	t.Helper()
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// adopt returns the two ends of an adopted connection.
func adopt(t testing.TB, network string) (app net.Conn, c *Conn) {
	t.Helper()
	app, given := pair(t, network)
	c, err := New(given, Internet, Unix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return app, c
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	must := func(f *os.File, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, tc := range []struct {
		name string
		give func(t *testing.T) *os.File
		want string
	}{
		{"pipe", func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			t.Cleanup(func() { _ = w.Close() })
			return must(r, err)
		}, "no socket"},
		{"file", func(*testing.T) *os.File { return must(os.Open("doc.go")) }, "no socket"},
		{"UDP socket", func(t *testing.T) *os.File {
			c, err := net.Dial("udp", "127.0.0.1:9")
			if err != nil {
				t.Fatal(err)
			}
			return file(t, c)
		}, "no stream socket"},
		{"listening socket", func(t *testing.T) *os.File {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return file(t, l)
		}, "a listening socket"},
		{"unconnected socket", func(t *testing.T) *os.File {
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			return os.NewFile(uintptr(fd), "socket")
		}, "not connected"},
		{"unix socket", func(t *testing.T) *os.File {
			_, f := pair(t, "unix")
			return f
		}, "another family"},
		{"unix datagrams", func(t *testing.T) *os.File {
			fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Close(fds[0]) })
			return os.NewFile(uintptr(fds[1]), "socket")
		}, "no stream socket"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := tc.give(t)
			c, err := New(f, Internet)
			if err == nil {
				_ = c.Close()
				t.Fatal("adopted")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want %q", err, tc.want)
			}
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file was left open: %v", err)
			}
		})
	}
}

// However a socket comes, it is as ours are, and the file that it came as is no
// longer its giver's.
func TestNewTakes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(fd int) error{
		"as Go has it": func(int) error { return nil },
		"in blocking mode": func(fd int) error {
			return syscall.SetNonblock(fd, false)
		},
		"without keepalive": func(fd int) error {
			return errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0),
				syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, given := pair(t, "tcp")
			c := adoptChanged(t, given, change)
			if c.RemoteAddr().String() != app.LocalAddr().String() || c.LocalAddr().String() != app.RemoteAddr().String() {
				t.Errorf("%v to %v", c.LocalAddr(), c.RemoteAddr())
			}
			withFD(t, c, func(fd int) {
				flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
				if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
					t.Errorf("flags %#x, %v: children inherit it", flags, errno)
				}
				for option, level := range map[int]int{syscall.SO_KEEPALIVE: syscall.SOL_SOCKET, syscall.TCP_NODELAY: syscall.IPPROTO_TCP} {
					if n, err := syscall.GetsockoptInt(fd, level, option); err != nil || n == 0 {
						t.Errorf("option %d of level %d: %d, %v", option, level, n, err)
					}
				}
			})
			if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read = %v: the poller does not know it", err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// adoptChanged adopts a socket that its giver has changed before, as it arrives:
// as a descriptor that nobody knows anything of.
func adoptChanged(t *testing.T, given *os.File, change func(fd int) error) *Conn {
	t.Helper()
	raw, err := given.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var k *Kept
	err = control(raw, func(fd int) (err error) {
		if err := change(fd); err != nil {
			return err
		}
		k, err = duplicate(fd)
		return err
	})
	if err := errors.Join(err, given.Close()); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(k.fd), "received")
	c, err := New(f, Internet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the file was left open: %v", err)
		}
	})
	return c
}

// withFD runs f on the descriptor of c, which stands for a duplicate: what is
// set here is shared.
func withFD(t testing.TB, c *Conn, f func(fd int)) {
	t.Helper()
	if err := c.raw.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

func TestBytesAndEnds(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 256<<10) // 4 MiB
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			app, c := adopt(t, network)
			if err := c.ArmReset(); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { // the application: sends all, ends, and then reads all
				if _, err := app.Write(want); err != nil {
					t.Errorf("application: %v", err)
				}
				if err := app.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Errorf("application: %v", err)
				}
			})
			var got bytes.Buffer
			if n, err := c.WriteTo(&got); err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("WriteTo = %d, %v", n, err)
			}
			wg.Go(func() { // an armed socket whose both directions have ended closes in order
				if n, err := c.Write(want); err != nil || n != len(want) {
					t.Errorf("Write = %d, %v", n, err)
				}
				if err := errors.Join(c.CloseWrite(), c.Close(), c.Close()); err != nil {
					t.Error(err)
				}
			})
			b, err := io.ReadAll(app)
			if err != nil || !bytes.Equal(b, want) {
				t.Errorf("the application got %d bytes, %v", len(b), err)
			}
			wg.Wait()
		})
	}
}

func TestResets(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*Conn) error{
		"Reset":                 (*Conn).Reset,
		"Close in the middle":   (*Conn).Close,
		"Close after our end":   func(c *Conn) error { return errors.Join(c.CloseWrite(), c.Close()) },
		"Close against lingers": func(c *Conn) error { return errors.Join(c.linger(3600), c.Close()) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, c := adopt(t, "tcp")
			if err := c.ArmReset(); err != nil {
				t.Fatal(err)
			}
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			for err := error(nil); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE); {
				if _, err = app.Write([]byte(".")); isTimeout(err) {
					t.Fatal("no reset came")
				}
			}
		})
	}
	t.Run("disarmed", func(t *testing.T) {
		t.Parallel()
		app, c := adopt(t, "tcp")
		if err := errors.Join(c.ArmReset(), c.DisarmReset(), c.Close()); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(app); err != nil || len(b) > 0 {
			t.Errorf("got %q, %v, want an end", b, err)
		}
	})
}

// An application that is killed after it has ended its direction is seen.
func TestWait(t *testing.T) {
	t.Parallel()
	app, c := adopt(t, "tcp")
	tcp := app.(*net.TCPConn)
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo(io.Discard); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- c.Wait() }()
	if err := errors.Join(tcp.SetLinger(0), tcp.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Wait = %v", err)
	}
	_, other := adopt(t, "tcp")
	go func() { waited <- other.Wait() }()
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait = %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	_, c := adopt(t, "tcp")
	if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("Read = %v", err)
	}
	if _, err := c.WriteTo(io.Discard); !isTimeout(err) {
		t.Errorf("WriteTo = %v", err)
	}
	if _, err := c.Write(make([]byte, 16<<20)); !isTimeout(err) {
		t.Errorf("Write = %v", err)
	}
}

func TestCloseUnblocks(t *testing.T) {
	t.Parallel()
	_, c := adopt(t, "tcp")
	errs := make(chan error, 2)
	go func() {
		_, err := c.Read(make([]byte, 1))
		errs <- err
	}()
	go func() {
		_, err := c.Write(make([]byte, 64<<20))
		errs <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
