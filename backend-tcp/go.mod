module github.com/project-receptor/receptor/backend-tcp

go 1.26.0

require (
	github.com/hashicorp/go-hclog v1.6.3
	github.com/project-receptor/receptor/plug v0.1.0
)
