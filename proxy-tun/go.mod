module github.com/project-receptor/receptor/proxy-tun

go 1.26.0

require (
	github.com/gaissmai/bart v0.30.0
	github.com/hashicorp/go-hclog v1.6.3
	github.com/project-receptor/receptor/plug v0.1.0
	github.com/songgao/water v0.0.0-20200317203138-2b4b6d7c09d8
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
)

require (
	github.com/fatih/color v1.13.0 // indirect
	github.com/mattn/go-colorable v0.1.12 // indirect
	github.com/mattn/go-isatty v0.0.14 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
)
