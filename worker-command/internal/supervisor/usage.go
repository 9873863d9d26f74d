package supervisor

import "errors"

// ErrUsage says that the program was not started by the worker.
var ErrUsage = errors.New("receptor-work-supervisor looks after one unit of work; receptor-worker-command starts it")

// Args are the arguments to supervise a unit with.
func Args(id string) []string { return []string{"receptor-work-supervisor", "unit", id} }
