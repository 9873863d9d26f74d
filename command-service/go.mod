module github.com/project-receptor/receptor/command-service

go 1.26.0

require (
	github.com/creack/pty v1.1.24
	github.com/project-receptor/receptor/plug v0.1.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/fatih/color v1.13.0 // indirect
	github.com/hashicorp/go-hclog v1.6.3 // indirect
	github.com/mattn/go-colorable v0.1.12 // indirect
	github.com/mattn/go-isatty v0.0.14 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
)
