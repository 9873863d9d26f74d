module github.com/project-receptor/receptor/cmd

go 1.26.0

require (
	github.com/hashicorp/go-hclog v1.6.3
	github.com/project-receptor/receptor/netceptor v0.1.0
	github.com/project-receptor/receptor/plug v0.1.0
	github.com/spf13/cobra v1.10.2
	go.yaml.in/yaml/v2 v2.4.5
	golang.org/x/sys v0.49.0
)
