# make run     set up, then two switches, their call data servers, and a call through both
# make test    set up, then all tests
# make compiled | plain   compile what every call passes (run and test do); back to plain Python
# make types | style | bench | load | simulate | faults    see docs/contributing.md

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PACKAGES_RUN := sip-tester
# Whether what every call passes is compiled first; "no": plain Python.
COMPILED ?= $(if $(filter no,$(SOFTSWITCH_COMPILE)),no,yes)
COMPILE := $(if $(filter no,$(COMPILED)),plain,$(BIN)/.compiled)
# systemd: only to look its units through, where it can be installed.
PACKAGES_TEST := sip-tester nftables kamailio kamailio-sqlite-modules baresip-core linphone-cli sipsak chromium systemd tshark sox

BROWSER := tests/interop/browser
PIPECAT := tests/interop/pipecat

.PHONY: compiled plain run test types style bench load simulate faults format clean sipp peers
.DELETE_ON_ERROR:

run: $(BIN)/.installed $(COMPILE) sipp
	$(BIN)/softswitch lab $(LAB)

# Most of a test is waiting for others, so there are more of them than cores. They start hundreds of
# processes, each of which would compile the same sources again where bytecode is not to be written.
test: export PYTHONDONTWRITEBYTECODE =
test: $(BIN)/.installed-test $(COMPILE) peers
	$(BIN)/python -m pytest -n 3 --dist loadfile $(PYTEST)

types: $(BIN)/.installed-test
	$(BIN)/mypy
	$(BIN)/mypy docs/plugins/*/*.py
	$(BIN)/lint-imports

style: $(BIN)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: $(BIN)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.installed-test $(COMPILE) peers
	$(BIN)/python -m bench compare --rounds 3 --two $(BENCH)

load: $(BIN)/.installed-test $(COMPILE) peers
	$(BIN)/python -m bench rate --rate 1000 --seconds 60 $(LOAD)

$(BIN)/.venv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --help >/dev/null 2>&1 && $(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
		else echo "install python3-venv: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What is compiled comes after this, by a step that says what it does and does only what is needed.
$(BIN)/.installed: $(BIN)/.venv pyproject.toml .ci/backend.py
	SOFTSWITCH_COMPILE=no $(PIP) -e .
	@touch $@

$(BIN)/.installed-test: $(BIN)/.installed
	@$(BIN)/python .ci/compile.py --extra test | $(PIP) -r /dev/stdin
	@touch $@

compiled: $(BIN)/.compiled

# As `pip install -e .` does it, but a module that cannot be compiled is an error. Without a compiler
# all is plain Python, there is no stamp, and the next make looks again.
$(BIN)/.compiled: $(BIN)/.installed .ci/compile.py $(shell find softswitch cdsplugin -name '*.py')
	@$(BIN)/python .ci/compile.py --lacking || test "$$(id -u)" != 0 || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			gcc libc6-dev python3-dev >/dev/null; }
	@! $(BIN)/python .ci/compile.py --lacking || \
		$(BIN)/python .ci/compile.py --extra compile | $(PIP) -r /dev/stdin
	@$(BIN)/python .ci/compile.py --stamp $@

plain: $(BIN)/.installed
	@$(BIN)/python .ci/compile.py --plain
	@rm -f $(BIN)/.compiled

# SIPp plays thousands of phones; the lab's call does without.
sipp:
	@command -v sipp >/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES_RUN) >/dev/null; \
		else echo "for load tests: sudo apt-get install $(PACKAGES_RUN)" >&2; fi; }

# What the tests call with, and through.
peers: $(BROWSER)/phone.bundle.js $(PIPECAT)/.venv/.installed
	@command -v sipp >/dev/null && command -v kamailio >/dev/null && command -v baresip >/dev/null \
		&& command -v linphonec >/dev/null && command -v sipsak >/dev/null && command -v nft >/dev/null \
		&& command -v chromium >/dev/null && command -v tshark >/dev/null && command -v sox >/dev/null \
		&& ls /usr/lib/*/kamailio/modules/db_sqlite.so >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES_TEST) >/dev/null; \
		else echo "the tests need: sudo apt-get install $(PACKAGES_TEST)" >&2; exit 1; fi; }

# The phone in a page: JsSIP, in one file.
$(BROWSER)/phone.bundle.js: $(BROWSER)/phone.js $(BROWSER)/package-lock.json
	@command -v npm >/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null; \
		else echo "the tests need: sudo apt-get install nodejs npm" >&2; exit 1; fi; }
	@cd $(BROWSER) && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build

# The voice agent: an environment of its own, as Pipecat asks for far more than the project, and in
# other versions. It has no pip of its own.
$(PIPECAT)/.venv/.installed: $(PIPECAT)/requirements.txt | $(BIN)/.venv
	@$(BIN)/python -m venv --clear --without-pip $(PIPECAT)/.venv
	@$(BIN)/python -m pip --python $(PIPECAT)/.venv/bin/python install --quiet \
		--disable-pip-version-check --no-compile --no-deps -r $<
	@touch $@

# Seeds of the call data servers' simulation: make simulate SEEDS=100000
SEEDS ?= 10000
simulate: $(BIN)/.installed-test $(COMPILE)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(SIMULATE)

# Everything fails by seed, with three sites: make faults FAULTS="--rounds 8 --seconds 25 --seed 7".
# Servers killed in mid load alone: make faults KILL=both RATE=200 TIMES=5; KILL is hq, branch or both
RATE ?= 50
TIMES ?= 20
faults: $(BIN)/.installed-test $(COMPILE) peers
	$(BIN)/python -m bench.faults $(if $(KILL),--kill $(KILL) --rate $(RATE) --times $(TIMES)) $(FAULTS)

clean:
	rm -rf $(VENV) $(PIPECAT)/.venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
