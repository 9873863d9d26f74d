// Package commandservice is the plug that runs an interactive command, such as a
// shell, for each stream to a service in the mesh: on a terminal of its own, as its
// own user. What a command is started as is made here; one stream, its terminal and
// its protocol are a session; that no process outlives it is the business of the
// watchers, internal/watch.
package commandservice

import "github.com/project-receptor/receptor/plug"

// New describes the plug. The program it is part of has to begin with [Watch].
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-command-service",
		Kinds:   kinds(),
		Check:   check,
		Run:     run,
	}
}

// check says what is wrong with an item before anything of it is applied.
func check(it *plug.Item) error {
	_, err := decode(it)
	return err
}

func decode(it *plug.Item) (*command, error) {
	var p params
	if err := it.Decode(&p); err != nil {
		return nil, err
	}
	return newCommand(p)
}
