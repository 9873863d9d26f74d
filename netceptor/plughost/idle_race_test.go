//go:build linux && race

package plughost

// idleStreamBytes is larger under the race detector, whose books are on the stacks.
const idleStreamBytes = 40_000
