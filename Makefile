# Few targets; each does what its name says on a fresh Debian or Ubuntu machine
# with Go, as root.

BIN     := bin/monohull
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null)
DATE    := $(shell git log -1 --format=%cI 2>/dev/null)
VERSION := github.com/monohull/monohull/internal/version
LDFLAGS := -s -w -X $(VERSION).Commit=$(COMMIT) -X $(VERSION).Date=$(DATE) \
	-X k8s.io/component-base/version.gitVersion=v1.36.3+monohull -X k8s.io/component-base/version.gitMajor=1 \
	-X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitCommit=$(COMMIT) \
	-X k8s.io/component-base/version.buildDate=$(DATE)

.PHONY: up down build test check bench conformance oracle deps generate clients fuzz

# A cluster with a sample application answering.
up: build
	scripts/up

# Ends what up began, and removes every trace of it.
down:
	scripts/down

build: generate
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/monohull

# The pod helper and the sample application's image, which the binary embeds.
generate: deps
	go generate ./internal/runtime/...

# Everything: style, unit tests under the race detector, end-to-end scripts, clients
# made for upstream, and every kind against upstream's own code.
test: check build
	go test -race -timeout 30m $$(go list ./... | grep -v /test/script)
	cd shim && go test ./...
	MONOHULL=$(CURDIR)/$(BIN) go test -timeout 30m ./test/script
	cd test/conformance && go vet . && go test .
	$(MAKE) clients
	$(MAKE) oracle N=100 SEED=7

check: generate
	@out=$$(gofmt -l cmd internal shim test bench); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	go vet ./...
	cd shim && go vet -tags 'seccomp netgo osusergo' ./...

# The measured claims; prints the table of docs/PERFORMANCE.md.
bench: build
	go run ./bench -monohull $(BIN)

# Upstream's conformance tests, those that FOCUS names (words of their names or a
# regular expression), SELECT (all, open, pending, failed, passed) or that fit into BUDGET.
# Writes docs/CONFORMANCE.md; fails when a test that passed before does not.
PROCS ?= 2
conformance: build
	cd test/conformance && go run . -monohull ../../$(BIN) -procs $(PROCS) $(if $(FOCUS),-focus '$(FOCUS)') \
		$(if $(SELECT),-select $(SELECT)) $(if $(BUDGET),-budget $(BUDGET)) $(if $(TIMEOUT),-timeout $(TIMEOUT)) $(ARGS)

# Compares the API rows with upstream's own code on N objects of each kind; KIND
# names one, as batch.Job. The seed is printed: SEED repeats a run.
N ?= 3000
oracle:
	cd test/oracle && GOFLAGS=-mod=mod go test . -vet=off -timeout 60m -run 'Test.*$(if $(KIND),/$(KIND)$$)' \
		-objects $(N) $(if $(SEED),-seed $(SEED)) $(if $(SEED)$(KIND),,-needed)

# Clients made for upstream Kubernetes: Helm, and the official one of JavaScript.
clients: build
	@scripts/deps clients
	cd test/clients && go vet . && MONOHULL=$(CURDIR)/$(BIN) go test -timeout 10m .

# Every fuzzer, each for FUZZTIME (a minute). What
# one finds is left in its package's testdata/fuzz, and is a test from then on.
FUZZTIME ?= 60s
fuzz:
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u); do \
		for name in $$(go test -list '^Fuzz' ./$$dir | grep '^Fuzz'); do \
			echo "$$dir $$name"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$dir; \
		done; \
	done

# What the build and the tests need beyond Go.
deps:
	@scripts/deps
