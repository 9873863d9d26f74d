package workercommand

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// identity is who units run as.
type identity struct {
	unit.User
	name, home string // "": it has none
}

// identify looks up who the units of an item run as. nil: whoever runs this program.
func (c *command) identify() (*identity, error) {
	if c.User == "" && c.Group == "" {
		return nil, nil
	}
	id := &identity{User: unit.User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}} //nolint:gosec // it is one
	if c.User != "" {
		if err := id.become(c.User); err != nil {
			return nil, fmt.Errorf("user: %w", err)
		}
	}
	if c.Group != "" {
		gid, err := groupID(c.Group)
		if err != nil {
			return nil, fmt.Errorf("group: %w", err)
		}
		id.GID = gid
	}
	if os.Geteuid() != 0 {
		if int(id.UID) == os.Geteuid() && int(id.GID) == os.Getegid() {
			return nil, nil // it is that already
		}
		return nil, errors.New("user, group: only root can run units as somebody else, and this program is not run by root")
	}
	return id, nil
}

// become makes the identity that of a user, with all of its groups.
func (id *identity) become(name string) error {
	u, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		if _, numErr := strconv.ParseUint(name, 10, 32); numErr == nil {
			u, err = user.LookupId(name)
			if unknown := user.UnknownUserIdError(0); errors.As(err, &unknown) { // a number needs no name
				u, err = &user.User{Uid: name, Gid: name}, nil
			}
		}
	}
	if err != nil {
		return err
	}
	if id.UID, err = number(u.Uid); err != nil {
		return err
	}
	if id.GID, err = number(u.Gid); err != nil {
		return err
	}
	if u.Username == "" {
		return nil
	}
	id.name, id.home = u.Username, u.HomeDir
	groups, err := u.GroupIds()
	if err != nil {
		return err
	}
	for _, g := range groups {
		gid, err := number(g)
		if err != nil {
			return err
		}
		id.Groups = append(id.Groups, gid)
	}
	return nil
}

func groupID(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return number(g.Gid)
	}
	if gid, numErr := number(name); numErr == nil {
		return gid, nil
	}
	return 0, err
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}
