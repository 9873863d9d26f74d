package adopted

import "syscall"

// sendFlags are those of each write.
const sendFlags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
