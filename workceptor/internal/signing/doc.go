// Package signing is the signatures of requests for work: JSON Web Tokens by RSA keys
// of 2048 bits at least, with the algorithm RS512 and no other.
//
// There are two. That of legacy nodes says which node it is for and until when, and
// nothing else: whoever sees one may use it for anything until then. Ours covers the
// request, with a nonce that the verifier has given out and takes back once. So it is
// for nothing else, not again, and the clocks of the two do not matter. Neither passes
// for the other.
package signing
