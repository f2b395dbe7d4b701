# Every target makes its own virtual environment first; nothing but Python 3.11 to 3.13 and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The environment is made in two stages: what the program needs, then what its tests need besides.
RUNTIME := $(VENV)/.runtime-ready
READY := $(VENV)/.ready

# What is run here keeps its bytecode too: each worker of pytest would compile every test anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help runtime ready demo ui test test-ui test-spark faults soak fuzz containers simulate bench scale clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# Makes an environment ($1) and installs into it ($2): with uv where it is on the path or can be had, else with pip, at
# the same versions. Bytecode is compiled here: where PYTHONDONTWRITEBYTECODE is set, every process would otherwise
# compile all that it imports.
define install
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13)) or None' \
		|| { echo "Python 3.11 to 3.13 is needed; set PYTHON, for example PYTHON=python3.12"; exit 1; }
	@[ -x $1/bin/python ] || $(PYTHON) -m venv $1
	@uv --version >/dev/null 2>&1 || $1/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt uv || echo "uv cannot be installed here, so pip is used; this takes more time"
	@echo "Installing into $1"
	@PATH="$1/bin:$$PATH" uv pip install --quiet --compile-bytecode --python $1/bin/python --constraint constraints.txt $2 \
		|| $1/bin/python -m pip install --quiet --compile --disable-pip-version-check --constraint constraints.txt $2
endef

$(RUNTIME): pyproject.toml constraints.txt
	$(call install,$(VENV),--editable .)
	@touch $@

$(READY): $(RUNTIME)
	$(call install,$(VENV),--editable '.[dev]')
	@touch $@

# The project's own files change without an installation.
runtime: $(RUNTIME)
	@$(BIN)/python -m compileall -q et_pipeline

ready: $(READY) runtime

demo: runtime ## make sample reports, run the real job, print a table of verdicts
	@$(BIN)/et demo

ui: runtime ## start the Dagster UI with its sensors on
	@$(BIN)/et ui

# The matrices are small: threads of the linear-algebra library would wait for each other on cores that other workers use.
test faults simulate: export OPENBLAS_NUM_THREADS = 1

# Tests wait for servers, browsers and other processes; one worker more than there are cores keeps the cores busy.
test: ready ## check style and types and run the tests: about eight minutes on two cores
	$(BIN)/ruff check et_pipeline et_pipeline_tests
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	PYTHONHASHSEED=0 $(BIN)/pytest -m 'not ui and not faults and not spark and not simulate' \
		-n $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)') --dist loadgroup --durations=10

test-ui: ready ## test the whole Dagster UI in a browser
	$(BIN)/pytest -m ui

# A Spark distribution of its own, 0.5 GB.
SPARK_READY := $(VENV)-spark/.ready
WITH_SPARK = SPARK_HOME=$$($(VENV)-spark/bin/python -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
$(SPARK_READY): constraints.txt
	@command -v java >/dev/null || { echo "Java 17 or newer is needed, but there is no java on the path"; exit 1; }
	$(call install,$(VENV)-spark,pyspark)
	@touch $@

test-spark: ready $(SPARK_READY) ## test the stages on a Spark cluster on this machine; needs Java 17 or newer
	$(WITH_SPARK) $(BIN)/pytest -m spark --durations=10 et_pipeline_tests/spark

faults: ready ## test with crashes and faults, see docs/reliability.md
	$(BIN)/python -m et_pipeline_tests.faults
	$(BIN)/pytest -m faults -n auto --dist loadgroup

soak: ready ## run an hour of simulated weeks; SECONDS=600 for ten minutes
	$(BIN)/python -m et_pipeline_tests.faults.soak $(if $(SECONDS),--seconds $(SECONDS))

# A failing case is left in the present folder.
FUZZ_TARGETS ?= reader plan sign_off packed
fuzz: ## fuzz, guided by code coverage, ten minutes per target; SECONDS=60 for less
	$(call install,$(VENV)-fuzz,--editable '.[fuzz]')
	for target in $(FUZZ_TARGETS); do \
		$(VENV)-fuzz/bin/python -m et_pipeline_tests.faults.fuzz $$target $(or $(SECONDS),600) || exit 1; done

containers: ready ## build and run the image and compose.yaml; needs root, debootstrap and Podman
	$(call install,$(VENV)-containers,podman-compose)
	$(BIN)/python -m et_pipeline_tests.operations.containers --compose $(VENV)-containers/bin/podman-compose

simulate: ready ## compare the statistics with a simulated truth
	$(BIN)/python -m et_pipeline_tests.statistics.simulate
	$(BIN)/python -m et_pipeline_tests.statistics.arms_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.bounded_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.drift_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.sample_ratio_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.portfolio_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.worth_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.breakdown_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.replay_simulation
	$(BIN)/pytest -m simulate -n auto --dist loadgroup et_pipeline_tests

# The baselines of the benchmarks bring pyarrow along, which the project itself does without; what people run is
# measured without it: pandera imports pandas and PySpark wherever they are.
bench: ## measure speed and memory, each against a baseline
	$(call install,$(VENV)-bench,--editable '.[bench]')
	$(call install,$(VENV)-bench-runtime,--editable .)
	RUNTIME_PYTHON=$(VENV)-bench-runtime/bin/python $(VENV)-bench/bin/python -m et_pipeline_tests.benchmarks

# 30 GB under TMPDIR; make scale SIZES="1000000 3000000" for less.
# ENGINE=sail or ENGINE=spark for a cluster on this machine; Spark needs Java.
SIZES ?= 1000000 3000000 10000000 30000000
ENGINE ?= duckdb
scale: ready $(if $(filter spark,$(ENGINE)),$(SPARK_READY)) ## measure how cost grows with the number of reports; half an hour or more
	@$(if $(filter spark,$(ENGINE)),$(WITH_SPARK)) $(BIN)/python -m et_pipeline_tests.benchmarks.scale --engine $(ENGINE) $(SIZES)

clean: ## remove the environments, not your data
	rm -rf $(VENV) $(VENV)-bench $(VENV)-bench-runtime $(VENV)-spark $(VENV)-fuzz $(VENV)-containers .pytest_cache .mypy_cache .ruff_cache .hypothesis
