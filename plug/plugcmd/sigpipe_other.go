//go:build !unix

package plugcmd

// ignorePipes does nothing: there is no SIGPIPE here.
func ignorePipes() {}
