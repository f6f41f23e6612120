# What anyone types. `make` alone prints this list.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8000
JOBS ?= 4
export PORT

.DEFAULT_GOAL := help
.PHONY: help run test fuzz chaos screenshots check bench bench-quick fix docs lock wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: $(VENV)/.runtime ## set everything up and serve on http://localhost:8000 (PORT=… for another)
	@TRIAL=on $(BIN)/python manage.py dev

# Bytecode is kept: else each worker, and each server that tests start, would compile it all anew.
test: $(VENV)/.dev ## the whole test suite
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(VENV)/.dev ## the API against its own schema: 20,000 made-up requests (FUZZ_REQUESTS=… for more)
	@FUZZ_REQUESTS=$${FUZZ_REQUESTS:-20000} $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup tests/fuzz

chaos: $(VENV)/.dev ## every process killed at random while 200 agents wait: ten minutes (CHAOS_SECONDS=… for more)
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(BIN)/python -m pytest -q -s tests/faults/test_killing.py

screenshots: $(VENV)/.dev ## pictures of every page into docs/images
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/browser/test_pictures.py

check: $(VENV)/.dev ## formatter, linter, names, types, imports, image, migrations, deploy check, schema, dependencies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/python tools/check_names.py
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry .
	@$(BIN)/hadolint --failure-threshold warning deploy/container/Dockerfile
	@TRIAL=on $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@env -u TRIAL DATABASE_URL=postgresql://nobody@127.0.0.1/none SECRET_KEY=$$(head -c 48 /dev/urandom | base64) \
		ALLOWED_HOSTS=orchestrator.example $(BIN)/python manage.py check --deploy --fail-level WARNING
	@TRIAL=on $(BIN)/python manage.py spectacular --format openapi-json --validate --fail-on-warn --file .data/openapi.json
	@cmp -s .data/openapi.json docs/openapi.json || { echo "docs/openapi.json is not what the code says: run make docs" >&2; exit 1; }
	@$(BIN)/python clients/python/generate.py --check
	@said=$$($(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes -r requirements.txt 2>&1) || \
		case "$$said" in \
		*ConnectionError*|*"Max retries exceeded"*) echo "SKIPPED: the dependency audit, since the list of advisories can't be reached." ;; \
		*) echo "$$said" >&2; exit 1 ;; \
		esac

bench: $(VENV)/.runtime ## how fast, beside the limit and beside others, in one run (BENCH_SECONDS=…, BENCH_PAIRS=…, ARGS='--only … --peers …')
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/.runtime ## how fast, beside the limit alone, in less than two minutes
	@$(BIN)/python -m bench --quick $(ARGS)

fix: $(VENV)/.dev ## what formatter and linter can mend by themselves
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev ## write anew what is drawn from the code: openapi.json, the client's types, states.md, database.md, errors.md
	@TRIAL=on $(BIN)/python manage.py spectacular --format openapi-json --validate --fail-on-warn --file docs/openapi.json
	@$(BIN)/python clients/python/generate.py
	@UPDATE_DOCS=1 $(BIN)/python -m pytest -q tests/project/test_documents.py -k triggers_of
	@UPDATE_DOCS=1 $(BIN)/python -m pytest -q tests/project/test_documents.py tests/clients/test_vectors.py

lock: $(VENV)/.dev ## pin requirements anew, with hashes, for Python 3.11 to 3.13
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q --upgrade pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q --upgrade -c requirements.txt --group dev -o requirements-dev.txt

wheel: $(VENV)/.dev ## a wheel in dist/ that installs without a checkout
	@$(BIN)/uv build --wheel -q -o dist

clean: ## remove the virtual environment and caches; the data in .data stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or later, or name it with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; $(PYTHON) is older. Name another with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "The virtual environment can't be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	@echo "Installing the locked requirements …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing the tests' and tools' requirements …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
