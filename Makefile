# Everything a developer of nearside runs. `make` alone lists it.

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(BIN)/tools

# Tools live in a folder named after their version, so that another version is another file.
LINT    := $(TOOLS)/golangci-lint-v2.15.0/golangci-lint
SQLC    := $(TOOLS)/sqlc-v1.31.1/sqlc
PBGO    := $(TOOLS)/protoc-gen-go-v1.36.12/protoc-gen-go
CONNECT := $(TOOLS)/protoc-gen-connect-go-v1.21.1/protoc-gen-connect-go
NFPM    := $(TOOLS)/nfpm-v2.45.2/nfpm
BILL    := $(TOOLS)/cyclonedx-gomod-v1.10.0/cyclonedx-gomod
TFLINT  := $(TOOLS)/tflint-v0.55.1/tflint
TRIVY   := $(TOOLS)/trivy-v0.58.1/trivy
AZURERM := $(TOOLS)/terraform-provider-azurerm-v1.44.1-0.20260824201233-fae580791926/terraform-provider-azurerm
AZURERM_VERSION := 5.2.0
install  = GOBIN=$(@D) $(GO) install $(1)@$(patsubst $(@F)-%,%,$(notdir $(@D)))

# What may take long runs apart from the rest, so that it has the machine to itself.
E2E   := ./dev/e2e/...
SHORT  = $(shell $(GO) list ./... | grep -v -e '^nearside/dev/e2e' -e '^nearside/dev/drill$$' -e '^nearside/dev/simulation$$' -e '^nearside/dev/pacing$$')

# What runs without the race detector: the simulations take long enough, and
# under the detector pools forget, so that allocations cannot be counted.
PLAIN := ./dev/simulation ./dev/pacing ./edge/serve

.DEFAULT_GOAL := help
.PHONY: help build run torture test afresh need vet lint unit e2e simulate simulate-nightly utilisation mutate plots bench drill latency fuzz dist generate geo terraform-test terraform-azurerm clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/nearside-core, bin/nearside-edge and bin/nearside-dev
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ \
		./core/cmd/nearside-core ./edge/cmd/nearside-edge ./dev/cmd/nearside-dev

run: build ## a core and three regions on this machine, with sample traffic
	$(BIN)/nearside-dev up

# Tests are run by way of this, so that the end can say what was left out.
TEST    = $(GO) run ./dev/cmd/nearside-dev test
SKIPPED = bin/skipped

test: afresh need vet lint unit e2e fuzz ## everything, on a fresh machine too: vet, lint, tests with the race detector, end to end
	@$(TEST) --summary
	@echo "not part of it: make drill (all drills at full length), make terraform-test, make mutate, make bench, make latency"

afresh:
	@mkdir -p bin && rm -f $(SKIPPED)

need: ## install what the tests need and this machine lacks
	$(GO) run ./dev/cmd/nearside-dev need

vet: ## go vet, and that all of it builds for macOS
	$(GO) vet ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...

lint: $(LINT) ## golangci-lint, with the import rules
	$(LINT) run ./...

unit: $(LINT) ## the tests that start no world
	NEARSIDE_GOLANGCI_LINT=$(LINT) $(TEST) -- -race -timeout 15m $(SHORT)
	$(TEST) -- -timeout 15m $(PLAIN)

e2e: ## the tests that drive the real binaries
	$(TEST) --verbose -- -race -timeout 15m -count=1 -p 1 $(E2E)
	$(TEST) --verbose -- -timeout 15m -count=1 ./dev/drill

torture: ## kill real Postgres and real edges, and fail an edge's disk, TIMES (100) times under load; fill a disk (root)
	$(GO) test ./dev/e2e -run 'TestTorture' -count=1 -v -timeout 0 -torture=$(or $(TIMES),100)

simulate-nightly: ## 1 000 000 seeds (SEEDS); stopped, it goes on where it was
	@mkdir -p bin
	$(GO) test ./dev/simulation -run 'TestSeeds$$' -count=1 -v -timeout 0 -seeds=$(or $(SEEDS),1000000) -from=$(or $(FROM),1) -progress=$(BIN)/simulated

simulate: ## SEEDS (1000) simulated worlds that break, beginning with seed FROM (1)
	$(GO) test ./dev/simulation -run 'TestSeeds$$' -count=1 -v -timeout 0 -seeds=$(or $(SEEDS),1000) -from=$(or $(FROM),1)

utilisation: ## how much of a budget many nodes bill, with and without faults (writes docs/proof.md)
	$(GO) run ./dev/simulation/utilisation -write

mutate: ## break one guard at a time; the simulation must notice (writes docs/proof.md)
	$(GO) run ./dev/simulation/mutate $(if $(ONLY),-only '$(ONLY)',-write)

plots: ## a day of 200 flights, plan against delivery (writes docs/pacing.md and its pictures; some minutes)
	$(GO) run ./dev/pacing/plots

# Two targets at a time with one worker each: as much searching, in half the time.
# The engine now and then takes its own end of time for a failure ("context
# deadline exceeded", with no input that failed): that target is run again.
FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME (10s)
	@mkdir -p bin
	@for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		sed -n "s,^func \(Fuzz[A-Za-z0-9_]*\).*,$$(dirname $$file) \1,p" $$file; \
	done | xargs -P 2 -L 1 sh -c 'log=bin/fuzz-$$1.log; \
		search() { $(GO) test -run "^$$" -fuzz "^$$1$$" -fuzztime $(FUZZTIME) -parallel 1 $$0 >$$log 2>&1; }; \
		search $$1 || { grep -q "context deadline exceeded" $$log && ! grep -q "Failing input" $$log && search $$1; }; \
		status=$$?; echo "$$0 $$1: $$(tail -1 $$log)"; \
		[ $$status = 0 ] || { cat $$log; exit 255; }'

bench: build ## speed beside its baseline, as a table and bench.json; ONLY=regexp selects
	$(BIN)/nearside-dev bench --only '$(ONLY)'

dist: $(NFPM) $(BILL) ## tarballs, packages, bills of materials and image recipes, in dist/ (ARCH=amd64,arm64)
	$(GO) run ./dev/cmd/nearside-dev dist --nfpm $(NFPM) --cyclonedx-gomod $(BILL) $(if $(ARCH),--arch $(ARCH))

drill: build ## rehearse the runbooks over a WAN (root): all, or ONLY=name; SCALE=0.1 makes ten minutes one
	$(BIN)/nearside-dev drill --scale $(or $(SCALE),1) $(if $(ONLY),--only $(ONLY))

latency: build ## what readers in three regions wait for, near and central, over a WAN (root): docs/latency.md
	$(BIN)/nearside-dev latency

generate: $(SQLC) $(PBGO) $(CONNECT) ## protobuf, Connect and sqlc code (needs protoc)
	@command -v protoc >/dev/null || { echo "protoc is missing: sudo apt-get install protobuf-compiler"; exit 1; }
	PATH="$(dir $(SQLC)):$(dir $(PBGO)):$(dir $(CONNECT)):$$PATH" $(GO) generate ./...

geo: ## refresh the data built into the edge (needs npm)
	$(GO) generate ./edge/visitor

terraform-test: $(TFLINT) $(TRIVY) $(NFPM) $(BILL) ## check terraform/ without a cloud, and apply it to booted machines (root; ONLY='format units': sections)
	NEARSIDE_TEST_INSTALL=1 PATH="$(dir $(TFLINT)):$(dir $(TRIVY)):$(dir $(NFPM)):$(dir $(BILL)):$$PATH" terraform/tests/run.sh $(ONLY)

terraform-azurerm: $(AZURERM) ## check the Azure modules with the provider's own binary (built once: a quarter of an hour)
	AZURERM_BINARY=$(AZURERM) AZURERM_VERSION=$(AZURERM_VERSION) terraform/tests/run.sh azurerm

clean: ## remove what was built, and the state of make run
	rm -rf $(BIN) .nearside

$(LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

$(SQLC):
	$(call install,github.com/sqlc-dev/sqlc/cmd/sqlc)

$(PBGO):
	$(call install,google.golang.org/protobuf/cmd/protoc-gen-go)

$(CONNECT):
	$(call install,connectrpc.com/connect/cmd/protoc-gen-connect-go)

# Not the newest: those need modules that the Go proxy does not have.
$(NFPM):
	$(call install,github.com/goreleaser/nfpm/v2/cmd/nfpm)

$(BILL):
	$(call install,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod)

# The tag that its changelog calls 5.2.0 has no version of its own on the module proxy.
$(AZURERM):
	GOBIN=$(@D) $(GO) install -p 1 -trimpath -ldflags='-s -w' github.com/hashicorp/$(@F)@$(patsubst $(@F)-%,%,$(notdir $(@D)))

$(TFLINT):
	$(call install,github.com/terraform-linters/tflint)

# From a module of its own: go install wants the list of all versions too, which
# not every proxy has for it.
$(TRIVY):
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && cd "$$work" && \
	printf 'package tools\n\nimport _ "github.com/aquasecurity/trivy/cmd/trivy"\n' >tools.go && \
	printf 'module tools\n\ngo 1.23\n\nrequire github.com/aquasecurity/trivy %s\n' $(patsubst trivy-%,%,$(notdir $(@D))) >go.mod && \
	$(GO) mod tidy -e && $(GO) build -trimpath -ldflags='-s -w' -o $@ github.com/aquasecurity/trivy/cmd/trivy
