# Every target makes its own virtual environment first; nothing but Python 3.11 to 3.13 and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-spark test-ui ui simulate faults bench scale soak fuzz clean

demo: $(READY)
	@$(BIN)/et demo

test: $(READY)
	$(BIN)/ruff check et_pipeline et_pipeline_tests
	$(BIN)/mypy
	PYTHONHASHSEED=0 $(BIN)/pytest -m 'not ui and not faults and not spark' -n auto --dist loadgroup --durations=10

# A Spark distribution of its own, 0.5 GB; needs Java 17 or newer.
SPARK_READY := $(VENV)-spark/.ready
WITH_SPARK = SPARK_HOME=$$($(VENV)-spark/bin/python -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
$(SPARK_READY): constraints.txt
	@command -v java >/dev/null || { echo "Java 17 or newer is needed, and there is no java on the path"; exit 1; }
	$(PYTHON) -m venv $(VENV)-spark
	$(VENV)-spark/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pyspark
	@touch $(SPARK_READY)

test-spark: $(READY) $(SPARK_READY)
	$(WITH_SPARK) $(BIN)/pytest -m spark --durations=10 et_pipeline_tests/spark

test-ui: $(READY)
	$(BIN)/pytest -m ui

ui: $(READY)
	@$(BIN)/et ui

simulate: $(READY)
	$(BIN)/python -m et_pipeline_tests.statistics.simulate
	$(BIN)/python -m et_pipeline_tests.statistics.bounded_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.drift_simulation
	$(BIN)/python -m et_pipeline_tests.statistics.sample_ratio_simulation

# Coverage-guided, ten minutes a target; SECONDS=60 for less. A failing case is left in the present folder.
FUZZ_TARGETS ?= reader plan sign_off packed
fuzz:
	$(PYTHON) -m venv $(VENV)-fuzz
	$(VENV)-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,fuzz]'
	for target in $(FUZZ_TARGETS); do \
		$(VENV)-fuzz/bin/python -m et_pipeline_tests.faults.fuzz $$target $(or $(SECONDS),600) || exit 1; done

# An hour of simulated weeks; SECONDS=600 for ten minutes.
soak: $(READY)
	$(BIN)/python -m et_pipeline_tests.faults.soak $(if $(SECONDS),--seconds $(SECONDS))

# What breaks, and what has to hold then: docs/reliability.md.
faults: $(READY)
	$(BIN)/python -m et_pipeline_tests.faults
	$(BIN)/pytest -m faults -n auto --dist loadgroup

# The baselines of the benchmarks bring pyarrow along, which the project itself does without.
bench:
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,bench]'
	$(VENV)-bench/bin/python -m et_pipeline_tests.benchmarks

# Half an hour or more, and 30 GB under TMPDIR; make scale SIZES="1000000 3000000" for less.
# ENGINE=sail or ENGINE=spark for a cluster on this machine; Spark needs Java.
SIZES ?= 1000000 3000000 10000000 30000000
ENGINE ?= duckdb
scale: $(READY) $(if $(filter spark,$(ENGINE)),$(SPARK_READY))
	@$(if $(filter spark,$(ENGINE)),$(WITH_SPARK)) $(BIN)/python -m et_pipeline_tests.benchmarks.scale --engine $(ENGINE) $(SIZES)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13)) or None' \
		|| { echo "Python 3.11 to 3.13 is needed; set PYTHON=python3.12 or the like"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) $(VENV)-bench $(VENV)-spark $(VENV)-fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis
