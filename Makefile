# Everything a person or CI runs. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

MODELKILN_CACHE ?= $(HOME)/.cache/modelkiln
CLUSTER := go -C test/cluster run .
CONTROLLER_GEN := go tool -modfile=test/tools/controller-gen/go.mod controller-gen
GOLANGCI_LINT := go tool -modfile=test/tools/golangci-lint/go.mod golangci-lint
KO := go tool -modfile=test/tools/ko/go.mod ko
CRD_REF_DOCS := go tool -modfile=test/tools/crd-ref-docs/go.mod crd-ref-docs
# The modules with code of ours; those under test/tools and test/cluster/tools
# only pin versions.
MODULES := . test/argo test/argo4 test/cluster

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

##@ What most people want

.PHONY: demo
demo: cluster-up ## A real model becomes a real image, on a real one-node cluster
	@. .cluster/env && go run ./test/demo

.PHONY: test
test: go-version ## Unit and integration tests (a real API server; compiled on first use)
	@echo "== unit and integration tests"
	assets=$$($(CLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets go test ./...
	@echo "== tests of the test cluster"
	go -C test/cluster test ./...
	@echo "== Argo's own code over the workflow templates"
# Not from the cache: go does not notice that files outside the module change.
	go -C test/argo test -count=1 ./...
	go -C test/argo4 test -count=1 ./...

.PHONY: e2e
e2e: root go-version ## End-to-end tests on the one-node cluster
	@$(CLUSTER) up --training
	@. .cluster/env && go test -tags e2e -v -count=1 -timeout 60m ./test/e2e/...

.PHONY: cluster-up
cluster-up: root go-version ## Start the one-node cluster, with Argo, a registry and Modelkiln in it
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: root ## End the one-node cluster and leave nothing of it behind
	@$(CLUSTER) down

##@ For those who change the code

.PHONY: generate
generate: go-version ## Make the generated files: deep copies, CRDs, the operator's role, the API reference
	$(CONTROLLER_GEN) object crd paths=./api/... output:crd:dir=deploy/crd
	$(CONTROLLER_GEN) rbac:roleName=modelkiln-manager paths=./internal/... paths=./cmd/modelkiln/... output:rbac:dir=deploy/rbac
	$(CRD_REF_DOCS) --config=api/reference.yaml --source-path=api --renderer=markdown --output-path=api/README.md --log-level=ERROR

.PHONY: verify
verify: generate lint ## Generated files are up to date, modules are tidy, linters are content
	@for module in $(MODULES); do echo "go mod tidy -diff in $$module"; go -C $$module mod tidy -diff; done
	@git diff --exit-code -- api deploy || { echo "Generated files differ from what is committed: run 'make generate' and commit the result." >&2; exit 1; }
	@untracked=$$(git ls-files --others --exclude-standard -- api deploy); if [ -n "$$untracked" ]; then echo "Generated files that are not committed: $$untracked" >&2; exit 1; fi

.PHONY: lint
lint: go-version ## Linters, in every module
	$(GOLANGCI_LINT) run --build-tags e2e ./...
	@for module in $(filter-out .,$(MODULES)); do echo "golangci-lint in $$module"; (cd $$module && go tool -modfile=$(CURDIR)/test/tools/golangci-lint/go.mod golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: bench
bench: go-version ## Both engines beside others, to test/bench, and Go's benchmarks; for comparing within one run
	go test -run '^$$' -bench . -benchmem ./internal/... ./test/bench
	go run ./test/bench/engines $(BENCH_ARGS)

# ko reads .ko.yaml. It pushes with the credentials that docker login or ko login have stored. REPOSITORY and TAG are read
# from the environment, into which make puts what its command line sets, so that the shell does not evaluate them.
.PHONY: push-images
push-images: go-version ## Build Modelkiln's images and push them: make push-images REPOSITORY=registry.example.com/modelkiln TAG=v0.1.0
	@[[ "$${REPOSITORY:-}" =~ ^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+$$ ]] || { echo "REPOSITORY='$${REPOSITORY:-}' is not a registry and a path without a tag; write: make push-images REPOSITORY=registry.example.com/modelkiln TAG=v0.1.0" >&2; exit 1; }
	@[[ "$${TAG:-}" =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$$ ]] || { echo "TAG='$${TAG:-}' is not an image tag; write: make push-images REPOSITORY=$$REPOSITORY TAG=v0.1.0" >&2; exit 1; }
	@revision=$$(git describe --always --dirty --abbrev=40 --exclude='*'); \
	KO_DOCKER_REPO=$$REPOSITORY $(KO) build --base-import-paths --tags="$$TAG" \
		--image-label=org.opencontainers.image.source=https://github.com/modelkiln/modelkiln \
		--image-label=org.opencontainers.image.revision="$$revision" \
		--image-label=org.opencontainers.image.version="$$TAG" \
		$(KO_FLAGS) ./cmd/modelkiln ./cmd/modelkiln-step \
		|| { echo "The images were not pushed. If the registry denied access, log in with: $(KO) login $${REPOSITORY%%/*}" >&2; exit 1; }

.PHONY: ci
ci: verify test e2e ## Everything that CI checks

# Here, since the Go command may fail before our program can say so: it wants a cache in the user's home.
.PHONY: root
root:
	@test "$$(id -u)" = 0 || { echo "make $(or $(firstword $(MAKECMDGOALS)),root) has to be run as root: the cluster makes namespaces and mounts." >&2; exit 1; }

.PHONY: go-version
go-version:
	@go version | awk '{split(substr($$3, 3), v, "."); exit !(v[1] > 1 || v[2] >= 26)}' || { echo "Go 1.26 or newer is needed; this is $$(go version). Install it from https://go.dev/dl and put it first on the PATH: Debian's is too old." >&2; exit 1; }
