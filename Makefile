# `make` lists the targets.
GO ?= go
BIN := bin/gatehouse
# -race where there is a C compiler; `make test` says so where there is none.
CC_THERE := $(shell command -v $${CC:-cc} 2>/dev/null)
RACE := $(if $(CC_THERE),-race,)
LINT_VERSION := v2.15.0
STATICCHECK_VERSION := v0.8.2
TOOLS := $(CURDIR)/.cache/tools
export CGO_ENABLED := $(if $(CC_THERE),1,0)

.DEFAULT_GOAL := help
.PHONY: help run build test check e2e faults fuzz bench mutants docs dist clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: build ## build and start the demo: a gateway, two identity providers, services, a target
	@./$(BIN) demo

build: ## build bin/gatehouse
	@mkdir -p bin
	@echo "building (the first time takes a minute or two) …"
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/gatehouse

test: ## every test that needs nothing installed
	@$(if $(RACE),,echo "no C compiler found: without -race")
	$(GO) test $(RACE) -timeout 15m ./...

check: ## gofmt, vet, linters, floors
	@cmd=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$cmd" ]; then echo "gofmt would change:"; echo "$$cmd"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags e2e ./...
	$(GO) mod verify
	$(TOOLS)/staticcheck-$(STATICCHECK_VERSION) ./...
	$(TOOLS)/golangci-lint-$(LINT_VERSION) run ./...
	$(GO) test -run 'TestFloors|TestDependencies|TestDocs' ./cmd/gatehouse

check: | $(TOOLS)/staticcheck-$(STATICCHECK_VERSION) $(TOOLS)/golangci-lint-$(LINT_VERSION)

$(TOOLS)/staticcheck-$(STATICCHECK_VERSION):
	@echo "installing staticcheck $(STATICCHECK_VERSION)"
	@GOBIN=$(TOOLS)/new CGO_ENABLED=0 $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@mv $(TOOLS)/new/staticcheck $@

$(TOOLS)/golangci-lint-$(LINT_VERSION):
	@echo "installing golangci-lint $(LINT_VERSION) (a few minutes the first time)"
	@GOBIN=$(TOOLS)/new CGO_ENABLED=0 $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(TOOLS)/new/golangci-lint $@

e2e: ## real browser, real peers; installs what it needs and says so before
	./cmd/gatehouse/e2e/run.sh

faults: ## the long form of every test that has one: kills, damage, power; an hour or more (TMPDIR=/dev/shm: less)
	GATEHOUSE_FAULTS=1 $(GO) test -p 1 -timeout 3h -v $$(git grep -l GATEHOUSE_FAULTS -- '*_test.go' ':!cmd/gatehouse/e2e' | sed 's,^,./,; s,/[^/]*$$,,' | sort -u)
	GATEHOUSE_FAULTS=1 $(GO) test -tags e2e -timeout 1h -v -run 'TestPeopleComeFromAListOverSFTP' ./cmd/gatehouse/e2e

FUZZTIME ?= 60s
fuzz: ## every fuzz target for a minute (FUZZTIME=10m for longer)
	@for f in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
	  for t in $$(grep -o '^func Fuzz[A-Za-z0-9_]*' $$f | sed 's/^func //'); do \
	    echo "== $$t in $$(dirname $$f)"; $(GO) test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f) || exit 1; \
	  done; \
	done

bench: ## what things cost, beside what they are compared with
	./cmd/gatehouse/bench/run.sh

mutants: ## engines broken on purpose: each law must fail on its own
	GATEHOUSE_MUTANTS=1 $(GO) test -timeout 30m -v -run Mutant ./...

docs: ## make the reference pages from the code
	$(GO) test ./configs -update
	$(GO) test -run 'TestDocs|Reasons' ./cmd/gatehouse -update

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
dist: ## binaries for four platforms, packages for Debian, list of parts, checksums, in dist/; the same bytes for the same commit
	rm -rf dist && mkdir -p dist
	@for p in linux/amd64 linux/arm64 darwin/arm64 windows/amd64; do \
	  name=gatehouse-$${p%/*}-$${p#*/}; [ $${p%/*} = windows ] && name=$$name.exe; echo "building $$name"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o dist/$$name ./cmd/gatehouse || exit 1; \
	done
	dist/gatehouse-$$($(GO) env GOHOSTOS)-$$($(GO) env GOHOSTARCH)* version --parts > dist/gatehouse-parts.cdx.json
	@if command -v dpkg-deb >/dev/null; then for a in amd64 arm64; do \
	  SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) deploy/deb/build.sh dist/gatehouse-linux-$$a 0~$(VERSION) $$a dist dist/gatehouse-linux-$$($(GO) env GOHOSTARCH) || exit 1; \
	done; else echo "no dpkg-deb: no packages for Debian"; fi
	cd dist && sha256sum gatehouse* > SHA256SUMS

clean: ## remove what was built
	rm -rf bin dist .cache
