// Package mtls is the TLS of a node: the profiles that its configuration names,
// the certificates and authorities that they are made of, and the node IDs that
// certificates carry.
//
// A ServerProfile or ClientProfile is what a tls-server or tls-client item says.
// LoadServer and LoadClient read its files, and what they return makes
// configurations of crypto/tls: for links and other connections, and for streams
// of the mesh, where the certificate must name the node at the other end.
//
// # Files change
//
// Certificates and authorities are replaced while a node runs. Whoever uses a
// loaded profile causes a look at its files, once a second at most. What was
// changed is taken as a whole or not at all: where the new files make no sense,
// cut short or a key that does not fit, those read before stay in use, status
// says so, and the log does once. A connection that stands is not touched by any
// of that. A Generation counts the changes, for those that want to check a
// standing connection anew.
//
// There is no goroutine here, and nothing to close.
//
// # Node IDs in certificates
//
// A certificate names nodes by subject alternative names of the form otherName,
// type 1.3.6.1.4.1.2312.19.1, as a UTF-8 string:
//
//	a0 13                                  [0] IMPLICIT OtherName
//	   06 09 2b 06 01 04 01 92 08 13 01    type-id
//	   a0 06                               [0] EXPLICIT
//	      0c 04 74 6c 73 61                UTF8String "tlsa"
package mtls
