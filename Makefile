# Development and CI targets. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CLUSTER := go -C test/cluster run .
CONTROLLER_GEN := go tool -modfile=test/tools/controller-gen/go.mod controller-gen
GOLANGCI_LINT := go tool -modfile=test/tools/golangci-lint/go.mod golangci-lint
CRD_REF_DOCS := go tool -modfile=test/tools/crd-ref-docs/go.mod crd-ref-docs
CRDIFY := go tool -modfile=test/tools/crdify/go.mod crdify --config test/tools/crdify/config.yaml
GOVULNCHECK := go tool -modfile=test/tools/govulncheck/go.mod govulncheck
KO := go tool -modfile=test/tools/ko/go.mod ko
# The programs that have an image.
PROGRAMS := ./cmd/modelkiln ./cmd/modelkiln-step
# The modules that contain code of this project. Those under test/tools, test/cluster/tools, test/registries/tools and test/sources/tools only pin versions.
MODULES := . cmd/kubectl-kiln test/argo test/argo4 test/cluster test/monitoring test/release test/sigstore

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

##@ Getting started

.PHONY: demo
demo: cluster-up ## Train, package and serve a small model on a one-node cluster
	@. .cluster/env && go run ./test/demo

.PHONY: test
test: go-version gcc ## Run unit tests, and integration tests against a real API server (compiled on first use)
	@echo "== unit tests, with the race detector"
# One package takes longer than all others: meanwhile, what the integration tests need is compiled.
	$(CLUSTER) assets >/dev/null 2>&1 & trap wait EXIT; CGO_ENABLED=1 go test -race -timeout 20m ./internal/...
	@echo "== integration tests"
	assets=$$($(CLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets go test -timeout 30m $$(go list ./... | grep -v /internal/)
	@echo "== kubectl kiln, against a real API server"
	assets=$$($(CLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets go -C cmd/kubectl-kiln test ./...
	@echo "== tests of the test cluster"
	go -C test/cluster test ./...
	@echo "== the workflow templates in Argo's own code"
# Without the test cache: the Go command does not notice changes to files outside the module.
	go -C test/argo test -count=1 ./...
	go -C test/argo4 test -count=1 ./...
	@echo "== the alerts and the dashboard in Prometheus' own parser"
	go -C test/monitoring test -count=1 ./...
	@echo "== the Helm chart and the release"
	assets=$$($(CLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets go -C test/release test -count=1 -timeout 20m ./...

# The API server takes longer than two minutes to compile, so that CI does without it. What is left out needs Kubernetes
# 1.35, image volumes, or 1.33: before, no status can be written if a rule rejects a spec that exists.
.PHONY: test-oldest
test-oldest: go-version ## Run the integration tests against the oldest Kubernetes that Modelkiln supports
	assets=$$($(CLUSTER) assets --oldest) && KUBEBUILDER_ASSETS=$$assets go test -timeout 30m -skip 'TestPullHost|TestWebhookServingNodes|TestWebhookServingPods/(Auto|ImageVolume)|TestAdmissionRatcheting|TestKubeDLMigration' ./test/integration

SOAK ?= 30m
.PHONY: soak
soak: go-version ## Let builds, deletions and restarts happen at random for SOAK (30m), and look for what leaks
	assets=$$($(CLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets go test -tags soak -v -timeout 0 -run '^TestSoak$$' ./test/integration -soak $(SOAK)

# Gitea takes longer than two minutes to compile, so that CI does without it. It runs git.
.PHONY: test-registries
test-registries: go-version gcc ## Run the steps against the registries that are not in make test
	@command -v git >/dev/null || { echo "Gitea requires git; install it with: apt-get install git" >&2; exit 1; }
	go test -tags slow -timeout 20m -run TestSlowMatrix -v ./test/registries

.PHONY: e2e
e2e: root go-version ## Run end-to-end tests on the one-node cluster
	@$(CLUSTER) up --training
	@. .cluster/env && go test -tags e2e -v -count=1 -timeout 60m ./test/e2e/...

# The test uninstalls the operator and the CRDs, so that all ModelVersions of the cluster are deleted.
.PHONY: e2e-chart
e2e-chart: root go-version ## Install, upgrade, roll back and uninstall the Helm chart on the one-node cluster
	@$(CLUSTER) up
	@trap '$(CLUSTER) up' EXIT; . .cluster/env && go test -tags e2e,chart -run '^TestChart$$' -v -count=1 -timeout 30m ./test/e2e

.PHONY: cluster-up
cluster-up: root go-version ## Start the one-node cluster with Argo Workflows, a registry and Modelkiln, or update it
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: root ## Stop the one-node cluster and remove everything but its logs
	@$(CLUSTER) down

##@ Development

.PHONY: generate
generate: go-version ## Generate deep copies, CRDs, the operator's role, the API reference and the Helm chart
	$(CONTROLLER_GEN) object crd paths=./api/... output:crd:dir=deploy/crd
	$(CONTROLLER_GEN) rbac:roleName=modelkiln-manager paths=./internal/... paths=./cmd/modelkiln/... output:rbac:dir=deploy/rbac
	$(CRD_REF_DOCS) --config=api/reference.yaml --source-path=api --renderer=markdown --output-path=api/README.md --log-level=ERROR
	go -C test/release run . chart

.PHONY: vulncheck
vulncheck: go-version ## Check the programs for known vulnerabilities (needs access to https://vuln.go.dev)
	$(GOVULNCHECK) ./cmd/...

.PHONY: verify
verify: generate lint ## Check that generated files are up to date, CRDs compatible and modules tidy, and run the linters
	@for module in $(MODULES); do echo "go mod tidy -diff in $$module"; go -C $$module mod tidy -diff; done
	@git diff --exit-code -- api deploy || { echo "Generated files differ from the committed ones; run 'make generate' and commit the result." >&2; exit 1; }
	@untracked=$$(git ls-files --others --exclude-standard -- api deploy); if [ -n "$$untracked" ]; then echo "Generated files are not committed: $$untracked" >&2; exit 1; fi
	@for crd in models modelversions; do echo "crdify $$crd"; $(CRDIFY) {file://test/integration/testdata/previous,file://deploy}/crd/model.kubedl.io_$$crd.yaml \
		|| { echo "The change of the CRD is incompatible with objects and clients of the previous release. Keep the field and what it admits, or add a version to the API." >&2; exit 1; }; done

# The Go command fuzzes one target at a time. Inputs that it finds interesting stay in its cache (go clean -fuzzcache
# removes them), and one that fails is written to testdata/fuzz: commit it with the fix. To make an input smaller takes
# up to a minute otherwise, and a run that ends meanwhile fails. So may one whose time ends while an input is tried
# (https://go.dev/issue/75804, fixed in Go 1.27). The second run tells that from an input that fails, which fails again.
FUZZTIME ?= 5s
.PHONY: fuzz
fuzz: go-version ## Run every fuzz target for FUZZTIME (5s), from its seeds and testdata/fuzz
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' internal | sort | while IFS=: read -r file target; do \
		echo "== $$(dirname "$$file") $${target#func }"; \
		fuzz=(go test -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "./$$(dirname "$$file")"); \
		"$${fuzz[@]}" </dev/null || "$${fuzz[@]}" </dev/null; \
	done

.PHONY: lint
lint: go-version ## Run the linters in every module
	$(GOLANGCI_LINT) run --build-tags e2e,chart,slow,soak ./...
	@for module in $(filter-out .,$(MODULES)); do echo "golangci-lint in $$module"; (cd $$module && go tool -modfile=$(CURDIR)/test/tools/golangci-lint/go.mod golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: bench
bench: go-version ## Compare both engines with other tools, and run Go's benchmarks; compare numbers within one run only
	go test -run '^$$' -bench . -benchmem ./internal/... ./test/bench
	go run ./test/bench/engines $(BENCH_ARGS)

# BENCH_ARGS="-baseline=PATH" measures another compiled operator beside, such as that of an earlier commit:
# git worktree add /tmp/before COMMIT && (cd /tmp/before && go build -o /tmp/modelkiln-before ./cmd/modelkiln)
.PHONY: bench-control-plane
bench-control-plane: go-version ## Measure what ten thousand ModelVersions cost the operator and the API server
	assets=$$($(CLUSTER) assets) && KUBEBUILDER_ASSETS=$$assets go run ./test/bench/controlplane $(BENCH_ARGS)

# ko reads .ko.yaml, adds the licenses in cmd/*/kodata, which test/notices generates, and uses the credentials that docker login or ko login have stored. KO_FLAGS are further flags of
# ko build, such as --insecure-registry for a registry without TLS. make exports the variables of its command line: the shell
# reads REPOSITORY and TAG from the environment, so that it does not evaluate them.
.PHONY: push-images
push-images: go-version ## Build and push Modelkiln's images: make push-images REPOSITORY=registry.example.com/modelkiln TAG=v0.1.0
	@[[ "$${REPOSITORY:-}" =~ ^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+$$ ]] || { echo "REPOSITORY='$${REPOSITORY:-}' is invalid: it must be a registry host and a lowercase path, without a scheme or a tag. Example: make push-images REPOSITORY=registry.example.com/modelkiln TAG=v0.1.0" >&2; exit 1; }
	@[[ "$${TAG:-}" =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$$ ]] || { echo "TAG='$${TAG:-}' is not a valid image tag. Example: make push-images REPOSITORY=$$REPOSITORY TAG=v0.1.0" >&2; exit 1; }
	go run ./test/notices $(PROGRAMS)
	@revision=$$(git describe --always --dirty --abbrev=40 --exclude='*'); \
	KO_DOCKER_REPO=$$REPOSITORY MODELKILN_VERSION=$$TAG MODELKILN_REVISION=$$revision $(KO) build --base-import-paths --tags="$$TAG" \
		--image-label=org.opencontainers.image.source=https://github.com/modelkiln/modelkiln \
		--image-label=org.opencontainers.image.revision="$$revision" \
		--image-label=org.opencontainers.image.version="$$TAG" \
		$(KO_FLAGS) $(PROGRAMS) \
		|| { echo "The images were not pushed. If the registry denied access, log in with: $(KO) login $${REPOSITORY%%/*}" >&2; exit 1; }

# KANIKO names a copy of Kaniko's image in a registry that can be reached, or its digest. RELEASE_FLAGS are further flags,
# such as --plain-http for registries without TLS, or --plugin-platforms=linux/amd64 for fewer archives of kubectl kiln.
.PHONY: release
release: go-version ## Push the images and the chart, and write dist/: make release VERSION=v0.2.0 REPOSITORY=registry.example.com/modelkiln
	@go -C test/release run . dist --root="$$PWD" --output="$$(realpath -m "$${DIST:-dist}")" --version="$${VERSION:-}" --repository="$${REPOSITORY:-}" --kaniko="$${KANIKO:-}" $(RELEASE_FLAGS)

.PHONY: prepare-release
prepare-release: go-version ## Write a version to the manifests and the chart, to commit and tag: make prepare-release VERSION=v0.2.0
	@go -C test/release run . prepare --root="$$PWD" --version="$${VERSION:-}"
	go -C test/argo test . -update >/dev/null
	go -C test/argo4 test . -update >/dev/null

.PHONY: ci
ci: verify test fuzz e2e ## Run everything that CI checks

.PHONY: nightly
nightly: test-oldest test-registries soak e2e-chart ## Run the tests that CI has no time for

# The Go command needs a cache in the user's home directory, and may fail before the cluster's program checks the user.
.PHONY: root
root:
	@test "$$(id -u)" = 0 || { echo "make $(or $(firstword $(MAKECMDGOALS)),root) must run as root: the cluster creates namespaces and mounts." >&2; exit 1; }

.PHONY: go-version
go-version:
	@go version | awk '{split(substr($$3, 3), v, "."); exit !(v[1] > 1 || v[2] >= 26)}' || { echo "Go 1.26 or newer is required; this is $$(go version). Install it from https://go.dev/dl and put it first on the PATH. Debian's package is too old." >&2; exit 1; }

.PHONY: gcc
gcc:
	@command -v gcc >/dev/null || { echo "The race detector requires gcc; install it with: apt-get install gcc libc6-dev" >&2; exit 1; }
