//go:build linux && !race

package plughost

// idleStreamBytes bounds what an open stream takes on both nodes together. It is
// 20,000 at most (docs/performance.md); the rest is for stacks that begin larger.
const idleStreamBytes = 22_000
