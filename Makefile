# Everything a developer or a newcomer runs. Needs python3, pip and make; no network besides the package index.

PYTHON ?= python3
JOBS ?= 2
TESTS ?= tests
UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs-installed
TORCH_INSTALLED := .venv-torch/.installed
DEMO := runs/demo
# Most of the time of the tests is compiling; without the optimizations of LLVM and XLA it is far less. test-all keeps them.
QUICK := XLA_FLAGS=--xla_backend_optimization_level=0 JAX_DISABLE_MOST_OPTIMIZATIONS=1

export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# An environment without ensurepip, filled from outside: bare Debian has neither ensurepip nor a pip that may install
# for the system. uv installs three times faster; where it is not to be had, pip does the same.
# All is compiled to bytecode: where Python may not write any (some containers), every command would compile its imports
# anew.
environment = test -x $(1)/bin/python || $(PYTHON) -m venv --without-pip $(1)
fetch_uv = test -x $(1)/bin/uv || $(PYTHON) -m pip --python $(1)/bin/python install -q uv==$(UV_VERSION) 2>/dev/null || \
	echo "uv is not to be had; pip installs instead, which takes longer"
install = if test -x $(1)/bin/uv; then $(1)/bin/uv pip install -q --compile-bytecode --python $(1)/bin/python $(2); \
	else $(PYTHON) -m pip --python $(1)/bin/python install -q $(2); fi

.PHONY: help install demo test test-all bench bench-gpu bench-tables bench-gradients bench-serve bench-explorer papers unbiasedness explorer docs format clean

help:
	@echo "make demo             train on handwritten digits; pictures and numbers in $(DEMO)/"
	@echo "make test             lint, types and the tests: what must pass before every change"
	@echo "make test-all         the same, with the full-size statistical checks"
	@echo "make bench            speed beside a bare JAX loop and PyTorch; files in blocks beside memory; two processes beside one; drawn bits"
	@echo "make bench-gpu        speed of training on a GPU in float32, TF32 and bfloat16 beside PyTorch; a sweep of 16"
	@echo "make bench-tables     anomalies, synthetic rows, imputation and speed on real tables"
	@echo "make bench-gradients  speed of reparameterized gradients beside numpyro and PyTorch; programs beside code by hand"
	@echo "make bench-serve      requests per second and latencies of reparax serve beside direct calls"
	@echo "make bench-explorer   time of a change on the page of reparax explore, changes per second, and frames of its map"
	@echo "make papers           published results beside ours; writes docs/papers.md (an hour or so on two cores)"
	@echo "make unbiasedness     measure every unbiased estimator at full size and write docs/unbiasedness.md"
	@echo "make explorer         build the page of reparax explore from explorer/ (needs node; users do not)"
	@echo "make docs             build the documentation into site/"
	@echo "make format           format the code"
	@echo "make clean            remove what the others made"

install: $(INSTALLED)

$(INSTALLED): requirements/development.txt pyproject.toml
	@echo "installing into $(VENV) ..."
	@$(call environment,$(VENV))
	@$(call fetch_uv,$(VENV))
	@$(call install,$(VENV),-r requirements/development.txt)
	@$(call install,$(VENV),--no-build-isolation --no-deps -e .)
	@$(BIN)/python -m compileall -q src
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED) requirements/docs.txt
	@$(call install,$(VENV),-r requirements/docs.txt)
	@touch $@

$(TORCH_INSTALLED): requirements/torch.txt
	@echo "installing into .venv-torch ..."
	@$(call environment,.venv-torch)
	@$(call fetch_uv,.venv-torch)
	@$(call install,.venv-torch,-r requirements/torch.txt)
	@touch $@

demo: $(INSTALLED)
	@mkdir -p $(DEMO)
	$(BIN)/reparax fit builtin:digits --prior vamp --out $(DEMO)/model
	$(BIN)/reparax sample $(DEMO)/model -n 64 --means -o $(DEMO)/samples.png
	$(BIN)/reparax reconstruct $(DEMO)/model builtin:digits --held-out -o $(DEMO)/reconstructions.png
	$(BIN)/reparax evaluate $(DEMO)/model builtin:digits --held-out -o $(DEMO)/evaluation.json
	@cat $(DEMO)/evaluation.json
	@echo "look at $(DEMO)/model/report.html, $(DEMO)/samples.png and $(DEMO)/reconstructions.png"
	@echo "move in the model: $(BIN)/reparax explore $(DEMO)/model builtin:digits"

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src
	$(QUICK) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not full" $(TESTS)

test-all: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "full or not full" $(TESTS)

bench: $(INSTALLED) $(TORCH_INSTALLED)
	$(BIN)/python benchmarks/vae.py
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/devices.py
	$(BIN)/python benchmarks/binarization.py

bench-gpu: $(INSTALLED) $(TORCH_INSTALLED)
	$(BIN)/python benchmarks/vae.py --device gpu

bench-tables: $(INSTALLED)
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/many.py

bench-gradients: $(INSTALLED) $(TORCH_INSTALLED)
	$(BIN)/python benchmarks/gradients.py
	$(BIN)/python benchmarks/programs.py

bench-serve: $(INSTALLED)
	$(BIN)/python benchmarks/serving.py

bench-explorer: $(INSTALLED)
	$(BIN)/python benchmarks/explorer.py

papers: $(INSTALLED)
	$(BIN)/python benchmarks/papers

# The built page is part of the repository and of the wheel; tests/explorer/test_build.py says when it is older than its source.
explorer:
	cd explorer && npm ci --no-audit --no-fund && npm run build

unbiasedness: $(INSTALLED)
	$(BIN)/python scripts/make_unbiasedness_page.py

docs: $(DOCS_INSTALLED)
	$(BIN)/python scripts/make_parts_page.py
	$(BIN)/python scripts/make_gradients_page.py
	$(BIN)/python scripts/make_api_pages.py
	$(BIN)/zensical build

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-torch explorer/node_modules runs site build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -exec rm -rf {} +
