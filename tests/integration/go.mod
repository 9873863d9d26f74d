module github.com/project-receptor/receptor/tests/integration

go 1.26.0

require (
	github.com/creack/pty v1.1.24
	github.com/gorilla/websocket v1.5.3
	github.com/hashicorp/go-hclog v1.6.3
	github.com/project-receptor/receptor/netceptor v0.1.0
	github.com/project-receptor/receptor/plug v0.1.0
	github.com/project-receptor/receptor/tests/legacy v0.0.0
	github.com/project-receptor/receptor/tests/tools v0.0.0
	github.com/project-receptor/receptor/workceptor v0.1.0
	github.com/quic-go/quic-go v0.65.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/fatih/color v1.13.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/mattn/go-colorable v0.1.12 // indirect
	github.com/mattn/go-isatty v0.0.14 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/net v0.62.0 // indirect
)
