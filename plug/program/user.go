package program

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// User is who a program runs as.
type User struct {
	UID, GID   uint32
	Groups     []uint32
	Name, Home string // empty: it has none
}

// Identify looks up a user, with all of its groups, and a group that takes the place
// of its main one; each by name or number, and either may be empty. nil is whoever
// runs this process: nobody is named, or just that one. An error says also that this
// process cannot become that user.
func Identify(name, group string) (*User, error) {
	if name == "" && group == "" {
		return nil, nil
	}
	u := &User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())} //nolint:gosec // it is one
	if name != "" {
		if err := u.become(name); err != nil {
			return nil, fmt.Errorf("user: %w", err)
		}
	}
	if group != "" {
		gid, err := groupID(group)
		if err != nil {
			return nil, fmt.Errorf("group: %w", err)
		}
		u.GID = gid
	}
	if os.Geteuid() != 0 {
		if int(u.UID) == os.Geteuid() && int(u.GID) == os.Getegid() {
			return nil, nil // it is that already
		}
		return nil, errors.New("user, group: only root can run programs as somebody else, and this one is not run by root")
	}
	return u, nil
}

// become makes it a user, with all of its groups.
func (u *User) become(name string) error {
	found, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		if _, numErr := strconv.ParseUint(name, 10, 32); numErr == nil {
			found, err = user.LookupId(name)
			if unknown := user.UnknownUserIdError(0); errors.As(err, &unknown) { // a number needs no name
				found, err = &user.User{Uid: name, Gid: name}, nil
			}
		}
	}
	if err != nil {
		return err
	}
	if u.UID, err = number(found.Uid); err != nil {
		return err
	}
	if u.GID, err = number(found.Gid); err != nil {
		return err
	}
	if found.Username == "" {
		return nil
	}
	u.Name, u.Home = found.Username, found.HomeDir
	groups, err := found.GroupIds()
	if err != nil {
		return err
	}
	for _, g := range groups {
		gid, err := number(g)
		if err != nil {
			return err
		}
		u.Groups = append(u.Groups, gid)
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
