// Package cgroup gives units cgroups (version 2) of their own, where a part of the
// tree is delegated to this worker: there they can be counted, limited and killed as
// a whole, whatever they do to hide.
package cgroup
