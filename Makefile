# Receptor: see README.md. Needs Go, make and gcc (for the race detector).
#
#   make build          every program into bin/
#   make demo           three nodes in a line, a directory served through the mesh
#   make test           unit tests, integration tests, the rules; race detector on
#   make fuzz           every fuzz target for a minute (FUZZTIME=...); crashes become seeds
#   make lint           formatting, vet, golangci-lint, tidy module files
#   make cross          compiles for other systems
#   make release-check  installs every program from a module proxy made of this tree
#   make release        prepares a release of modules (MODULE="plug netceptor"; DRYRUN=1 writes nothing)
#   make who-needs      lists what to release again after a fix in a module (MODULE=plug)
#   make tested-together  lists the module versions that the system tests run together
#   make packages       .deb and .rpm of every program into .packages/
#   make soak           an hour of a mixed ring, watched for flaps and leaks
#   make bench-stream   streams beside raw quic-go and bare loopback
#   make bench-work     units of work on one node: submit to result, followed lines, rates
#   make bench-tun      a TUN tunnel beside wireguard-go, in network namespaces; needs root
#   make bench-storm    500 leaves come back to a hub that restarts
#   make bench-junk     goodput while strangers connect ten thousand times a second
#   make tidy           the only way to change requirements

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(CURDIR)/.tools
MODULES := $(shell sed -n 's|^[[:space:]]\./||p' go.work)
ROOT    := github.com/project-receptor/receptor
MODTOOL := $(GO) run ./tests/tools/cmd/modules
comma   := ,
# Main packages that are installed: neither tests nor examples.
COMMANDS = $(shell $(GO) list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' work | grep -v -e /tests/ -e /example/)

.PHONY: build demo test test-unit test-allocs test-integration fuzz lint cross release-check release who-needs tested-together packages soak bench-stream bench-work bench-tun bench-storm bench-junk tidy clean

# Without cgo: nothing of the system's is linked, and a supervisor starts in 3 ms less.
build:
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -o $(BIN)/ $(COMMANDS)

demo: build
	$(GO) run ./tests/integration/cmd/demo -bin $(BIN)

test: test-unit test-allocs test-integration

test-unit:
	$(GO) test -race -timeout 10m $$($(GO) list work | grep -v '^$(ROOT)/tests/integration')

# The race detector allocates: what must not allocate is tested apart from it.
test-allocs:
	$(GO) test -run Allocs -timeout 5m ./netceptor/... ./plug/... ./proxy-tun/...

test-integration:
	$(GO) test -race -timeout 30m ./tests/integration/...

FUZZTIME ?= 1m
fuzz:
	$(GO) run ./tests/tools/cmd/fuzz -time $(FUZZTIME)

lint: $(TOOLS)/golangci-lint $(TOOLS)/gofumpt
	@out=$$($(TOOLS)/gofumpt -l $(MODULES)); if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi
	$(MODTOOL) tidy -check
	@set -e; for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(GO) vet ./... && $(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done

# The tools are pinned in tests/tools/tools.mod, apart from the workspace, so that their requirements do not raise ours.
$(TOOLS)/%: tests/tools/tools.mod
	@mkdir -p $(TOOLS)
	cd tests/tools && GOWORK=off $(GO) build -modfile=tools.mod -o $(TOOLS)/ tool

# Apart from the others, so that make lint does not wait for it.
$(TOOLS)/nfpm: tests/tools/packages.mod
	@mkdir -p $(TOOLS)
	cd tests/tools && GOWORK=off $(GO) build -modfile=packages.mod -o $(TOOLS)/ tool

PLATFORMS = linux/arm64 darwin/arm64 windows/amd64
cross:
	@set -e; for p in $(PLATFORMS); do echo "cross $$p"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build $(COMMANDS); \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) vet $$($(GO) list work | grep -v '^$(ROOT)/tests/'); done

release-check:
	$(MODTOOL) release-check

release:
	@$(MODTOOL) release $(if $(DRYRUN),-dry-run) $(MODULE)

who-needs:
	@$(MODTOOL) who-needs $(MODULE)

tested-together:
	$(MODTOOL) tested-together

# For whom, and as what; the tests build amd64 .deb files alone.
ARCHES  ?= amd64,arm64
FORMATS ?= deb,rpm
packages: $(TOOLS)/nfpm
	$(MODTOOL) programs -out .packages/programs -platforms linux/$(subst $(comma),$(comma)linux/,$(ARCHES))
	$(GO) run ./tests/tools/cmd/packages -arch $(ARCHES) -format $(FORMATS)

soak:
	$(GO) test -timeout 90m -v -run TestLegacySoak ./tests/integration -soak 1h

bench-stream: build
	$(GO) run ./tests/integration/cmd/bench-stream -bin $(BIN)

bench-work: build
	$(GO) run ./tests/integration/cmd/bench-work -bin $(BIN)

bench-tun: build
	$(GO) run ./tests/integration/cmd/bench-tun -bin $(BIN)

bench-storm:
	$(GO) test -v -count 1 -run TestHubRestart ./netceptor -leaves 500
	$(GO) test -v -count 1 -run TestHubRestart ./netceptor -leaves 100 -signing

bench-junk: build
	$(GO) run ./tests/integration/cmd/bench-junk -bin $(BIN)
	$(GO) run ./tests/integration/cmd/bench-junk -bin $(BIN) -medium ws

tidy:
	$(MODTOOL) tidy

clean:
	rm -rf $(BIN) $(TOOLS) .release .packages
