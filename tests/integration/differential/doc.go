// Package differential reads the same bytes as our node and as the model of an
// existing one (package legacy), which share no code on purpose, and compares: what
// is accepted, and which values it has. Each difference is a mistake of one of them,
// or is in a list here with its reason.
package differential
