# Two commands: `make demo` and `make test`; each sets up its own virtual environment. PYTHON=python3.12 chooses the Python.
PYTHON ?= python3
export PYTHON

.PHONY: demo test
demo:
	sh scripts/demo
test:
	sh scripts/test
