// Package unit is what is kept of a unit in the worker's state directory, and what
// its supervisor is told. For a unit ID there are
//
//	ID.unit   that the worker has it (Record). Durable before anything runs, and
//	          locked (flock) by whoever looks after the unit: first the plug, then,
//	          through the same open file, the supervisor for as long as it lives
//	ID.run    that something runs, or may (Trace). Written just before the process
//	          is made, and again when its ID is known
//	ID.end    how it ended (End). Durable before anybody is told
//	ID.sock   where the supervisor listens
//
// So whoever finds a unit with its lock free knows: with ID.end, how it ended;
// without ID.run, that nothing was ever run; else that its supervisor was killed. A
// record of another boot is of a unit that the machine's end has ended.
package unit
