// Package program is for plugs that run programs: their command lines, where they
// are, and who they run as.
package program
