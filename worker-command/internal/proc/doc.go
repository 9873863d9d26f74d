// Package proc tells processes apart and ends them: never one that only has the
// number of another. A process is known by its number, when it was started and the
// boot that was in; it is signalled through a descriptor of it (pidfd), after it was
// looked at once more.
package proc
