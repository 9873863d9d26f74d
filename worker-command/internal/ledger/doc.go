// Package ledger is the units that a worker has: it keeps, durably, which those are,
// has a supervisor run each once, finds supervisors again after its own end, and says
// what became of units whose supervisor is gone.
//
// What is on the disk is described in package unit. From it follows what holds
// whatever is killed when:
//
//   - a unit that may have run is never run again. One whose supervisor died before it
//     had noted that it was about to run anything has not run: it is forgotten;
//   - a unit runs as long as its lock is held. Without lock and without word of its end
//     its supervisor was killed: what is left of its processes is killed, and it is
//     Lost, as is one of another boot;
//   - a process is signalled only if it is the one that was noted (number, start time,
//     boot), is in the unit's own cgroup, or has the unit's token in its environment.
package ledger
