# Three commands do everything: make demo, make test, make check. Each sets up what it needs and prints what it runs.
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench faults audit format reference notebooks

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## host packages, .venv, guest images; nothing twice
	@.ci/setup

demo: setup ## the whole road on real machines, with timings
	$(PYTHON) examples/first_light.py

test: setup ## every test, real guests included
	$(PYTHON) -m pytest --numprocesses 2 --no-loadscope-reorder

check: setup ## format, lint, types, architecture
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q tests/architecture tests/typecheck

bench: setup ## how fast, as ratios in the same run: the client, the server, containers against plain QEMU, the gateway against nginx
	$(PYTHON) tests/bench/client.py
	$(PYTHON) tests/bench/embedded.py
	$(PYTHON) tests/bench/throughput.py
	$(PYTHON) tests/bench/requests.py
	$(PYTHON) tests/bench/feed.py
	$(PYTHON) tests/bench/first_light.py
	$(PYTHON) tests/bench/ingress.py
	$(PYTHON) tests/bench/gateway.py

faults: setup ## how many of the faults seeded into the server the contract kit finds, and how fast
	$(PYTHON) -m tests.faults.run

audit: setup ## testssl.sh on the gateway, ssh-audit on guests
	$(PYTHON) tests/bench/audit.py

format: setup ## rewrite the code in the house format
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

notebooks: setup ## run the example notebooks and store what they show
	$(PYTHON) -m tests.examples.execute

reference: setup ## write docs/reference from the contract, and the kit's tables
	$(PYTHON) -m ecompute.contract.description.markdown docs/reference
	$(PYTHON) -m ecompute.conformance.description docs
