package lab

import (
	"net"
	"testing"
)

func TestAFreePortIsGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 500 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("port %d was given twice", port)
		}
		given[port] = true
	}
	for range 500 { // nor does anybody get one who listens on any port
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; given[port] {
			t.Fatalf("port %d was given to another listener", port)
		}
	}
	for port := range given { // but who knows its number does
		l, err := net.Listen("tcp", Local(port))
		if err != nil {
			t.Fatalf("port %d: %v", port, err)
		}
		l.Close()
	}
}
