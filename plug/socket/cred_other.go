//go:build !linux

package socket

// peerCred cannot tell: Windows has no such call, and macOS none in package
// syscall. The rights of the socket's directory are the trust there.
func peerCred(uintptr) (Cred, error) { return Cred{}, nil }
