module github.com/project-receptor/receptor/example

go 1.26.0

require (
	github.com/project-receptor/receptor/backend-tcp v0.1.0
	github.com/project-receptor/receptor/netceptor v0.1.0
	github.com/project-receptor/receptor/plug v0.1.0
	github.com/project-receptor/receptor/workceptor v0.1.0
	golang.org/x/term v0.47.0
)

require (
	github.com/fatih/color v1.13.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/hashicorp/go-hclog v1.6.3 // indirect
	github.com/mattn/go-colorable v0.1.12 // indirect
	github.com/mattn/go-isatty v0.0.14 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/quic-go/quic-go v0.65.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
