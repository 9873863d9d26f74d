// Package plugtest holds fakes for both ends of the plug protocol: a core that
// drives a plug, and a plug that drives a core, for tests without the other.
package plugtest
