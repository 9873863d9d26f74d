// Package watch is the process between this plug and a command: it starts the command
// on its terminal, and sees to it that no process of it is left when the plug wants
// it to end, when the command has ended, or when the plug has died.
//
// A watcher is the reaper of all that is born of its command: what ignores a hang-up,
// or has left the session and the terminal, is still its own. It is the plug's program
// once more, started with the argument [Arg].
package watch

// Arg is the first argument of a watcher. The second says to people what it watches.
const Arg = "watch"

// Order is what a watcher is told to run.
type Order struct {
	Path string   `json:"path"` // of the program
	Args []string `json:"args"` // the first is its name
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	User *User    `json:"user,omitempty"` // nil: that of the plug
}

// User is who the command runs as.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
}

// End is how a command has ended, and that none of its processes is left.
type End struct {
	Code   uint8 `json:"code"`
	Signal uint8 `json:"signal"` // 0: none
	Left   int   `json:"left"`   // processes that could not be killed
}

// word is what a watcher says: first that the command runs, or why not, and at last
// its end.
type word struct {
	PID int    `json:"pid,omitempty"`
	Err string `json:"err,omitempty"`
	End *End   `json:"end,omitempty"`
}
