//go:build !unix

package core

import "os"

// harden has nothing to do here: rights are inherited from directories, and
// there is no SIGPIPE.
func harden() {}

// syncDir has nothing to do here: directories cannot be synchronized.
func syncDir(*os.Root) error { return nil }
