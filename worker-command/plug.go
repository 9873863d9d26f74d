// Package workercommand is the plug that runs units of work as processes of commands:
// a work-command item offers a type of work. What a unit runs is made here; that it
// runs once, and what becomes of it, is the business of internal/ledger and of the
// supervisors, internal/supervisor.
package workercommand

import "github.com/project-receptor/receptor/plug"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-worker-command",
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
