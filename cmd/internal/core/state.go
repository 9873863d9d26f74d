package core

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
)

// identity is what tells this run of the node from others.
type identity struct {
	epoch    uint64
	resetKey [32]byte
	signKey  ed25519.PrivateKey
	kept     bool // the keys are, for the next run
}

// loadIdentity makes the identity of a run that starts now: an epoch greater
// than any earlier one, since the mesh ignores a node that comes back with
// less, and the keys, which stay. Without a usable state directory it
// waits for the next second, by which every epoch of the last one is exceeded.
func loadIdentity(ctx context.Context, log hclog.Logger, dataDir, nodeDir string) (identity, error) {
	id, err := identityFrom(dataDir, nodeDir, time.Now())
	if err == nil {
		return id, nil
	}
	log.Warn("no state is kept; waiting for the next second, so that the mesh takes this node for a newer one than before", "error", err)
	now := time.Now()
	select {
	case <-time.After(now.Truncate(time.Second).Add(time.Second).Sub(now)):
	case <-ctx.Done():
		return identity{}, ctx.Err()
	}
	// A broken file is mended now; of a broken directory the first warning was enough.
	if id, err = identityFrom(dataDir, nodeDir, time.Now()); err == nil {
		return id, nil
	}
	id = identity{epoch: netceptor.NextEpoch(time.Now(), 0)}
	rand.Read(id.resetKey[:]) // never fails
	id.signKey = newSignKey()
	return id, nil
}

// identityFrom reads and renews the identity in a state directory. What it
// cannot read it removes, so that the next call succeeds.
func identityFrom(dataDir, nodeDir string, now time.Time) (identity, error) {
	s, err := openState(dataDir, nodeDir)
	if err != nil {
		return identity{}, err
	}
	defer s.close()
	last, err := s.lastEpoch()
	if err != nil {
		return identity{}, err
	}
	id := identity{epoch: netceptor.NextEpoch(now, last)}
	if err := s.write(epochFile, strconv.FormatUint(id.epoch, 10)); err != nil {
		return identity{}, err
	}
	if id.resetKey, err = s.resetKey(); err != nil {
		return identity{}, err
	}
	id.signKey, err = s.signKey()
	id.kept = true
	return id, err
}

// The files of a state directory: a line of text each.
const (
	epochFile = "epoch"     // of the last run, decimal
	keyFile   = "reset-key" // 32 bytes, hexadecimal
	signFile  = "sign-key"  // the seed of an Ed25519 key, 32 bytes, hexadecimal
)

// state is the directory of one node's state. Names cannot lead out of it.
type state struct{ root *os.Root }

// openState opens the directory nodeDir in dataDir and makes both if needed,
// for nobody but their owner.
func openState(dataDir, nodeDir string) (*state, error) {
	if dataDir == "" {
		return nil, errors.New("there is no home directory; parameter datadir of node says where state is kept")
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	parent, err := os.OpenRoot(dataDir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	defer parent.Close() // a directory
	if err := parent.Mkdir(nodeDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make state directory of the node: %w", err)
	}
	if err := parent.Chmod(nodeDir, 0o700); err != nil {
		return nil, fmt.Errorf("close state directory %s to others: %w", filepath.Join(dataDir, nodeDir), err)
	}
	root, err := parent.OpenRoot(nodeDir)
	if err != nil {
		return nil, fmt.Errorf("open state directory of the node: %w", err)
	}
	return &state{root}, nil
}

func (s *state) close() { _ = s.root.Close() } // a directory: nothing can be lost

// lastEpoch is the epoch of the last run, 0 if this is the first.
func (s *state) lastEpoch() (uint64, error) {
	text, err := s.read(epochFile)
	if err != nil || text == "" {
		return 0, err
	}
	last, err := strconv.ParseUint(text, 10, 63) // never so large that there is none greater
	if err != nil {
		return 0, s.discard(epochFile, err)
	}
	return last, nil
}

// resetKey is the node's stateless reset key, made when it is first needed.
func (s *state) resetKey() (key [32]byte, err error) {
	text, err := s.read(keyFile)
	if err != nil {
		return key, err
	}
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(key) {
		return [32]byte(b), nil
	}
	rand.Read(key[:]) // never fails
	return key, s.write(keyFile, hex.EncodeToString(key[:]))
}

// signKey is the key that signs the node's routing updates, likewise. One that
// cannot be read is replaced: the mesh takes the new one when it has missed the
// old one for a while.
func (s *state) signKey() (ed25519.PrivateKey, error) {
	text, err := s.read(signFile)
	if err != nil {
		return nil, err
	}
	if b, err := hex.DecodeString(text); err == nil && len(b) == ed25519.SeedSize {
		return ed25519.NewKeyFromSeed(b), nil
	}
	key := newSignKey()
	return key, s.write(signFile, hex.EncodeToString(key.Seed()))
}

func newSignKey() ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:]) // never fails
	return ed25519.NewKeyFromSeed(seed[:])
}

// read returns a file's line, empty if there is no file.
func (s *state) read(name string) (string, error) {
	b, err := s.root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read state: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// discard removes a file that makes no sense and says so.
func (s *state) discard(name string, why error) error {
	return fmt.Errorf("read state: %w", errors.Join(fmt.Errorf("file %s: %w", filepath.Join(s.root.Name(), name), why), s.root.Remove(name)))
}

// write replaces a file by a line of text: after a crash it holds the old text
// or the new one.
func (s *state) write(name, text string) error {
	temp := name + ".new"
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	_, err = f.WriteString(text + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := s.root.Rename(temp, name); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := syncDir(s.root); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}
