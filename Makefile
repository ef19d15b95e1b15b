# make help lists what there is. Go and, for what is missing, apt are all that is needed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= dev
COMMIT   := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
TOOLS    := .work/tools
FUZZTIME ?= 30s
# What builds images; what is found if empty.
ENGINE   ?=
# Flags of bench/, as in: make bench BENCH='-quick -only /nginx'
BENCH    ?=

# need(command, package): a command that is missing is installed, or its install command is said.
need = command -v $(1) >/dev/null || { \
	if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
	else echo "$(1) is missing: sudo apt-get install $(2)" >&2; exit 1; fi; }

.PHONY: help build image sbom unit e2e test fuzz bench pgo lint generate check dev clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/legate, static, with the recorded profile if there is one
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/legate ./cmd/legate

image: ## the image legate:VERSION, by ENGINE: the first of docker, podman and buildah that works here
	@engine=$(ENGINE); for e in docker podman buildah; do [ -n "$$engine" ] || ! $$e info >/dev/null 2>&1 || engine=$$e; done; \
	[ -n "$$engine" ] || { echo "docker, podman or buildah is needed" >&2; exit 1; }; \
	set -x; "$$engine" build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t legate:$(VERSION) .

sbom: build $(TOOLS)/cyclonedx-gomod ## bin/legate.cdx.json, the modules in bin/legate as CycloneDX
	$(TOOLS)/cyclonedx-gomod bin -json -std -version $(VERSION) -output bin/legate.cdx.json bin/legate

unit: ## every package's own tests, with the race detector; then those that count allocations, without
	@$(call need,gcc,gcc libc6-dev)
	@$(call need,curl,curl)
	@$(call need,redis-server,redis-server redis-sentinel redis-tools)
	CGO_ENABLED=1 go test -race $$(go list ./... | grep -v /e2e)
	go test -run '^TestAllocs' $$(go list ./... | grep -v /e2e)

e2e: build $(TOOLS)/cyclonedx-gomod $(TOOLS)/h2spec $(TOOLS)/grpc-interop-client $(TOOLS)/grpc-interop-server $(TOOLS)/istio-check $(TOOLS)/helm $(TOOLS)/idp $(TOOLS)/pebble $(TOOLS)/kubeapi $(TOOLS)/kubectl $(TOOLS)/ratelimit ## the real binary with real parts around it
	@$(call need,curl,curl)
	@$(call need,nghttp,nghttp2-client)
	@$(call need,haproxy,haproxy)
	@$(call need,chromium,chromium)
	@$(call need,redis-server,redis-server redis-sentinel redis-tools)
	@$(call need,ip,iproute2)
	@$(call need,nft,nftables)
	@$(call need,testssl,testssl.sh)
	LEGATE_TOOLS=$(CURDIR)/$(TOOLS) go test -count=1 -timeout 30m ./e2e/...
	@go test -count=1 -v -run '^TestCoverage$$' ./e2e/ambassador | grep -o 'rows of .*'

test: unit e2e ## unit and e2e

fuzz: ## every fuzz target for FUZZTIME (30s)
	@go list ./... | while read -r pkg; do \
		targets=$$(go test -list '^Fuzz' "$$pkg" | sed -n '/^Fuzz/p'); \
		for target in $$targets; do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg"; \
		done; \
	done

bench: build $(TOOLS)/bench ## cost per request and connection, beside nginx, HAProxy and net/http
	$(TOOLS)/bench $(BENCH)

pgo: build $(TOOLS)/bench ## records cmd/legate/default.pgo under the bench's mix; commit it
	$(TOOLS)/bench -pgo cmd/legate/default.pgo

lint: $(TOOLS)/golangci-lint ## golangci-lint with .golangci.yml; what knows the kernel builds for others too
	$(TOOLS)/golangci-lint run ./...
	GOOS=darwin go build ./wire/...

generate: ## what is generated: documents, CRDs
	go generate ./...

# The work tree as it is, whether committed or not: check is for use while one works.
tree = { git diff HEAD; git ls-files --others --exclude-standard -z | xargs -0r sha256sum; } | sha256sum

check: lint test ## lint, test, and generate leaves no diff
	@before=$$($(tree)); $(MAKE) generate; after=$$($(tree)); \
	if [ "$$before" != "$$after" ]; then echo "make generate changed files: commit them" >&2; git status --short; exit 1; fi

dev: build ## serve config.example.yaml on this machine
	bin/legate dev

clean: ## removes what is built
	rm -rf bin .work bench/.work

.PHONY: $(TOOLS)/bench
$(TOOLS)/bench:
	CGO_ENABLED=0 go build -o $@ ./bench

# module-tool(module, package): a tool of a module of its own under test/tools, which pins its version.
module-tool = go -C test/tools/$(1) build -trimpath -ldflags "-s -w" -o $(CURDIR)/$@ $(2)

$(TOOLS)/h2spec: test/tools/h2spec/go.mod test/tools/h2spec/go.sum
	$(call module-tool,h2spec,github.com/summerwind/h2spec/cmd/h2spec)

$(TOOLS)/cyclonedx-gomod: test/tools/cyclonedx/go.mod test/tools/cyclonedx/go.sum
	$(call module-tool,cyclonedx,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod)

$(TOOLS)/grpc-interop-client: test/tools/interop/go.mod test/tools/interop/go.sum
	$(call module-tool,interop,google.golang.org/grpc/interop/client)

$(TOOLS)/grpc-interop-server: test/tools/interop/go.mod test/tools/interop/go.sum test/tools/interop/server/main.go
	$(call module-tool,interop,./server)

$(TOOLS)/istio-check: test/tools/istio/go.mod test/tools/istio/go.sum test/tools/istio/main.go
	$(call module-tool,istio,.)

$(TOOLS)/helm: test/tools/helm/go.mod test/tools/helm/go.sum
	$(call module-tool,helm,helm.sh/helm/v3/cmd/helm)

$(TOOLS)/idp: $(wildcard test/tools/idp/*)
	$(call module-tool,idp,.)

$(TOOLS)/pebble: $(wildcard test/tools/pebble/*)
	$(call module-tool,pebble,.)

# Without its version the API server reports one that clients cannot read.
kubernetes = CGO_ENABLED=0 go -C test/tools/kubeapi build -trimpath -o $(CURDIR)/$@ \
	-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"

$(TOOLS)/kubeapi: test/tools/kubeapi/go.mod test/tools/kubeapi/go.sum test/tools/kubeapi/main.go
	$(kubernetes) .

$(TOOLS)/kubectl: test/tools/kubeapi/go.mod test/tools/kubeapi/go.sum
	$(kubernetes) k8s.io/kubernetes/cmd/kubectl

$(TOOLS)/ratelimit: test/tools/ratelimit/go.mod test/tools/ratelimit/go.sum
	$(call module-tool,ratelimit,github.com/envoyproxy/ratelimit/src/service_cmd)

$(TOOLS)/golangci-lint: test/tools/golangci-lint/go.mod test/tools/golangci-lint/go.sum
	$(call module-tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
