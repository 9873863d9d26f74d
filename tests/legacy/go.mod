module github.com/project-receptor/receptor/tests/legacy

go 1.26.0

require (
	github.com/gorilla/websocket v1.5.3
	github.com/minio/highwayhash v1.0.4
	github.com/quic-go/quic-go v0.65.0
)

require (
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
