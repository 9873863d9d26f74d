package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/program"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// defaultUser is whom core and plugs run as where root runs the launcher, if there is
// such a user.
const defaultUser = "receptor"

// tunHelper is the one plug that keeps a capability: it makes network interfaces.
const tunHelper = "receptor-proxy-tun"

// identity is whom core and plugs run as, if that is not who runs the launcher, which
// is root then. The methods of nil find nothing wrong.
type identity struct {
	*program.User
	name string // as people know it
}

// identify finds whom core and plugs run as; name is what the command line says. nil:
// whoever runs the launcher.
func identify(name string) (*identity, error) {
	if name == "" {
		if os.Geteuid() != 0 {
			return nil, nil
		}
		name = defaultUser
		if _, err := user.Lookup(name); errors.As(err, new(user.UnknownUserError)) {
			return nil, nil
		}
	}
	u, err := program.Identify(name, "")
	switch {
	case err != nil:
		return nil, fmt.Errorf("--user %s: %w", name, err)
	case u == nil || u.UID == 0:
		return nil, nil
	}
	as := &identity{u, name}
	if err := as.try(func() error { return nil }); err != nil {
		return nil, fmt.Errorf("this process cannot become user %s (%w): --user root keeps core and plugs root", name, err)
	}
	return as, nil
}

// uid is that of core and plugs.
func (as *identity) uid() int {
	if as == nil {
		return os.Geteuid()
	}
	return int(as.UID)
}

// environ is the environment of core and plugs: root's, but for what says where root's
// own files are. State is where it is if root itself runs them.
func (as *identity) environ() []string {
	own := []string{"HOME=" + as.Home, "USER=" + as.Name, "LOGNAME=" + as.Name, "STATE_DIRECTORY=" + plug.StateRoot()}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "XDG_") || slices.ContainsFunc(own, func(o string) bool {
			name, _, _ := strings.Cut(o, "=")
			return strings.HasPrefix(v, name+"=")
		})
	})
	return append(env, own...)
}

// checkItems tells what of the configuration is root's alone: keys that the user cannot
// read, sockets where it cannot make one, programs that are to run as others.
func (as *identity) checkItems(c *Catalog, items []config.Item, control []config.ControlService) error {
	if as == nil {
		return nil
	}
	var errs config.Errors
	for _, item := range items {
		for _, param := range slices.Sorted(maps.Keys(item.Params)) {
			path, _ := item.Params[param].(string)
			if isKeyFile(item.Kind, param) {
				if err := as.may(path, canRead); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", item.Label, err))
				}
			}
		}
		if _, kind := c.Find(item.Kind); kind != nil && slices.ContainsFunc(kind.Params, func(p wire.Param) bool { return p.Name == "user" }) {
			if err := as.checkUser(item.Params["user"], item.Params["group"]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", item.Label, err))
			}
		}
	}
	for _, c := range control {
		if c.Filename == "" {
			continue
		}
		if err := as.may(filepath.Dir(c.Filename), canWrite); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Label, err))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// isKeyFile tells whether a parameter is a file of a key or certificate.
func isKeyFile(kind, param string) bool {
	switch kind {
	case "tls-server", "tls-client":
		return slices.Contains([]string{"cert", "key", "clientcas", "rootcas"}, param)
	case "work-signing", "work-verification":
		return slices.Contains([]string{"privatekey", "publickey", schema.Bare}, param)
	}
	return false
}

// checkUser tells that the user of an item that runs programs is somebody whom its plug cannot become.
func (as *identity) checkUser(name, group any) error {
	text := func(v any) string {
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	}
	other, err := program.Identify(text(name), text(group))
	if err != nil || other == nil {
		return nil // its plug says what is wrong
	}
	if name == nil {
		other.UID = as.UID
	}
	if other.UID == as.UID && other.GID == as.GID {
		return nil
	}
	return fmt.Errorf("core and plugs run as user %s, and only root can run programs as others: leave user and group out, or run receptor with --user root", as.name)
}

// prepare makes the directories of the node that are not there, the user's, and tells
// which the user cannot use, or which programs.
func (as *identity) prepare(n *node) error {
	sockets := filepath.Dir(n.config.PlugSocket())
	if as == nil {
		if os.Geteuid() == 0 && owner(sockets) > 0 && owner(filepath.Dir(sockets)) == 0 {
			_ = os.Remove(sockets) // empty, where core and plugs ran as a user of their own before: root's core makes its own
		}
		return nil
	}
	data, root := n.config.DataDir, plug.StateRoot()
	state := filepath.Join(data, n.config.NodeDir())
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{sockets, 0o750},
		{data, 0o700},
		{state, 0o700},
		{root, 0o700},
		{filepath.Join(root, n.config.NodeDir()), 0o700}, // of plugs, where the node's is elsewhere
	} {
		if err := as.give(d.path, d.mode); err != nil {
			return err
		}
	}
	errs := []error{as.may(sockets, canWrite), as.mayUse(data, state), as.may(n.core.Path, canExecute)}
	for _, p := range n.plugs {
		errs = append(errs, as.may(p.Path, canExecute))
	}
	return errors.Join(errs...)
}

// mayUse tells that the user cannot use the node's state: what root's core has kept there
// is root's.
func (as *identity) mayUse(data, state string) error {
	if err := as.may(data, canRead); err != nil {
		return err
	}
	if err := as.may(state, canWrite); err != nil {
		return err
	}
	entries, err := os.ReadDir(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if err := as.may(filepath.Join(state, e.Name()), canRead); err != nil {
			return err
		}
	}
	return err
}

// give makes a directory that is not there, or is empty and of no use to the user, and
// gives it to the user. What is above it stays root's; where it is not, whoever it belongs
// to could have us give away something else, and the core, as that user, makes the
// directory itself.
func (as *identity) give(dir string, mode os.FileMode) error {
	above := filepath.Dir(dir)
	if err := makeOpen(above); err != nil {
		return err
	}
	if !rootOwns(above) {
		return nil
	}
	made, err := makeDir(dir, mode)
	if !made && err == nil && as.may(dir, canWrite) != nil && os.Remove(dir) == nil {
		made, err = makeDir(dir, mode)
	}
	if !made || err != nil {
		return err
	}
	if err := os.Lchown(dir, int(as.UID), int(as.GID)); err != nil {
		return fmt.Errorf("give directory to user %s: %w", as.name, err)
	}
	return nil
}

// makeOpen makes a directory, and those above it, that anybody may pass through.
func makeOpen(dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
		return nil
	}
	if err := makeOpen(filepath.Dir(dir)); err != nil {
		return err
	}
	_, err := makeDir(dir, 0o755)
	return err
}

// makeDir makes a directory with just that mode, unless something is there.
func makeDir(dir string, mode os.FileMode) (made bool, err error) {
	if err := os.Mkdir(dir, mode); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("make directory: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil { // the umask may have taken rights
		return false, fmt.Errorf("make directory: %w", err)
	}
	return true, nil
}

// What the user may have to be able to do with a file or directory.
const (
	canRead    = "read"
	canWrite   = "write"
	canExecute = "execute"
)

// may tells that the user cannot do that with a file, if it is there.
func (as *identity) may(path, what string) error {
	if as == nil || path == "" {
		return nil
	}
	err := as.try(func() error { return access(path, what) })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("user %s, whom core and plugs run as, cannot %s %s (%w): give it the right to, or run receptor with --user root", as.name, what, path, err)
}
