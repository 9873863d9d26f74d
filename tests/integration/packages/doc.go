// Package packages tests the packages as they are installed: hosts with a root
// directory and a network of their own, dpkg, and services started with the command
// lines, users and capabilities of their units, since no systemd runs there.
//
// A host's root is an overlay over that of this machine, which nothing is written to,
// in a mount namespace that ends with the tests.
package packages
