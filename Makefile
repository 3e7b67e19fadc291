# Builds, tests and measures ztfast: `make demo` shows it, `make test` runs all tests, `make help` lists the targets.
# Targets that need .venv set it up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CARGO := cargo --locked
MANIFEST := --manifest-path src_ext/Cargo.toml

RUST := $(shell find src_ext -path src_ext/target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print)
GATE := $(wildcard src_ext/cython/*) ztfast/gate.pxd ztfast/include/ztfast.h setup.py
BUILD := pyproject.toml build_backend/backend.py

# `make fuzz`, `make fuzz-bundles` and `make fuzz-certificates` run for so many seconds.
SECONDS ?= 60

.PHONY: help setup demo test test-rust test-killed test-shared test-loom test-tsan test-realtime test-without-avx test-fuzz test-miri test-python test-shipped \
	test-free-threaded test-spire test-left-out cpu-time compile-shipped compile-counts fuzz fuzz-bundles fuzz-certificates mutants lint deny check-oldest-rust format codes bench figures \
	bench-instructions bench-python bench-clock bench-scale bench-spire bench-peers lock clean gone

# Two builds of the module take turns in the package.
.NOTPARALLEL:

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(VENV)/.requirements: requirements/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ztfast needs Python 3.11 or newer; set PYTHON=")'
	@command -v cargo >/dev/null || { echo "ztfast needs a Rust toolchain (1.89 or newer): cargo is not on the PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	touch $@

# The package holds one of two builds of the module: the shipped one, for the demo and for measurements, or the one for
# tests, which has assertions and shares its crates with the tests in Rust. Linters, and targets that only compile a
# bundle, use the build that is there. A build whose modules are gone is made again.
INSTALL = $(BIN)/python -m pip install $(QUIETLY) --disable-pip-version-check --no-build-isolation --no-deps -e .
SOURCES := $(VENV)/.requirements $(RUST) $(GATE) $(BUILD) \
	$(if $(and $(wildcard ztfast/_core.*.so),$(wildcard ztfast/gate.*.so)),,gone)
SHIPPED := $(VENV)/.installed
TESTED := $(VENV)/.tested
EITHER := $(firstword $(wildcard $(SHIPPED) $(TESTED)) $(TESTED))

# The first build compiles Cedar, which takes minutes: it shows what cargo does.
$(SHIPPED): QUIETLY := $(if $(wildcard src_ext/target/release),--quiet,--verbose)
$(TESTED): QUIETLY := $(if $(wildcard src_ext/target/debug),--quiet,--verbose)

$(SHIPPED): $(SOURCES)
	rm -f $(TESTED)
	$(INSTALL)
	touch $@

$(TESTED): $(SOURCES)
	rm -f $(SHIPPED)
	MATURIN_PEP517_ARGS="--profile dev" $(INSTALL)
	touch $@

# Always out of date.
gone:

# This leaves the package as it is: another build of the module may be in use.
compile-shipped: $(VENV)/.requirements
	PYTHONPATH=build_backend $(BIN)/python -c 'import backend; backend.compile_core()' >/dev/null

setup: $(SHIPPED) ## set everything up in .venv

demo: setup ## compile the example desk, decide, revoke, swap, and show latencies
	$(BIN)/ztfast demo

test: test-rust test-loom test-realtime test-without-avx test-fuzz test-python test-free-threaded test-left-out ## all tests

# Each takes many minutes.
test-left-out:
	@echo "SKIPPED test-killed and test-shared: shorter forms of both were run, with the other tests"
	@echo "SKIPPED test-tsan, test-miri and test-spire: they are run by hand"

# Python's tests cover the module. The crate that counts instructions is left out, because it enables other features of
# Cedar's dependencies.
CRATES := --workspace --exclude ztfast-python --exclude ztfast-icount
test-rust:
	$(CARGO) test $(MANIFEST) $(CRATES) --quiet

# `make test-rust` kills a few hundred times.
test-killed: ## kill a process of a shared state after each instruction of each change, and 10,000 times at random: 10 minutes of processor time
	ZTFAST_TEST_EACH=1 ZTFAST_TEST_KILLS=10000 $(CARGO) test $(MANIFEST) --quiet -p ztfast-live -p ztfast-identity --test killed

test-loom: ## run the code that threads share without locks in every order of its steps, under loom
	$(CARGO) test --manifest-path src_ext/loom/Cargo.toml --target-dir src_ext/target/loom --quiet

# The sanitizer watches code that is compiled with it, so this builds the engine again, without Cedar: the build that
# test-rust uses compiles the tests' bundles. The engine is built with little optimisation, because that is quicker.
REALTIME_FLAGS := -Zsanitizer=realtime --cfg ztfast_rtsan
REALTIME_BUNDLES := $(CURDIR)/build/realtime
test-realtime: ## run the deciding side under RealtimeSanitizer, where there is a nightly toolchain with it
	@if ! RUSTUP_AUTO_INSTALL=0 cargo +nightly --version >/dev/null 2>&1; then \
	  echo "SKIPPED test-realtime: no nightly Rust toolchain (rustup toolchain install nightly)"; \
	elif ! ls "$$(rustc +nightly --print sysroot)"/lib/rustlib/*/lib/*rt.rtsan.a >/dev/null 2>&1; then \
	  echo "SKIPPED test-realtime: $$(rustc +nightly --version) has no runtime of RealtimeSanitizer for this system"; \
	else \
	  ZTFAST_TEST_BUNDLES="$(REALTIME_BUNDLES)" $(CARGO) test $(MANIFEST) --quiet -p ztfast-engine --test realtime && \
	  ZTFAST_TEST_BUNDLES="$(REALTIME_BUNDLES)" RUSTFLAGS="$(REALTIME_FLAGS)" CARGO_PROFILE_DEV_OPT_LEVEL=1 \
	  cargo +nightly test --locked $(MANIFEST) --config 'profile.dev.package."*".opt-level=0' \
	    --target "$$(rustc +nightly -vV | sed -n 's/^host: //p')" --target-dir src_ext/target/realtime \
	    --quiet -p ztfast-engine --test realtime; \
	fi

# The standard library is built with the sanitizer, too: otherwise it takes the library's own order for races. As in
# test-realtime, the bundles come from files. It sees threads of one mapping; processes are the matter of test-killed.
TSAN_FLAGS := -Zsanitizer=thread --cfg ztfast_rtsan
TSAN := cargo +nightly test --locked $(MANIFEST) --config 'profile.dev.package."*".opt-level=0' -Zbuild-std \
	--target-dir src_ext/target/tsan --quiet
test-tsan: ## run the tests of threads in Rust under ThreadSanitizer, where there is a nightly toolchain with it: minutes
	@if ! RUSTUP_AUTO_INSTALL=0 cargo +nightly --version >/dev/null 2>&1; then \
	  echo "SKIPPED test-tsan: no nightly Rust toolchain (rustup toolchain install nightly)"; \
	elif ! ls "$$(rustc +nightly --print sysroot)"/lib/rustlib/*/lib/*rt.tsan.a >/dev/null 2>&1; then \
	  echo "SKIPPED test-tsan: $$(rustc +nightly --version) has no runtime of ThreadSanitizer for this system"; \
	elif ! ls "$$(rustc +nightly --print sysroot)"/lib/rustlib/src/rust/library/Cargo.lock >/dev/null 2>&1; then \
	  echo "SKIPPED test-tsan: it lacks the standard library's source (rustup component add rust-src --toolchain nightly)"; \
	else \
	  export ZTFAST_TEST_BUNDLES="$(REALTIME_BUNDLES)" && \
	  $(CARGO) test $(MANIFEST) --quiet -p ztfast-engine --test realtime && \
	  export RUSTFLAGS="$(TSAN_FLAGS)" CARGO_PROFILE_DEV_OPT_LEVEL=1 && \
	  target="$$(rustc +nightly -vV | sed -n 's/^host: //p')" && \
	  $(TSAN) --target $$target -p ztfast-live --lib && \
	  $(TSAN) --target $$target -p ztfast-engine --test side_by_side; \
	fi

# Nehalem is a processor of 2008 and has neither AVX2 nor AVX.
QEMU ?= $(shell command -v qemu-x86_64 || command -v qemu-x86_64-static)
test-without-avx: ## run the engine's tests on an emulated processor without AVX2, where there is an emulator
	@if [ -z "$(QEMU)" ]; then \
	  echo "SKIPPED test-without-avx: no qemu-x86_64 (Debian: qemu-user). The plain instructions alone were tested by test-rust"; \
	else \
	  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(QEMU) -cpu Nehalem" $(CARGO) test $(MANIFEST) --quiet \
	    -p ztfast-engine --lib --test simd --test no_alloc --test realtime; \
	fi

# The fuzzer runs two million random requests, and the cases that failed once.
test-fuzz:
	$(CARGO) build $(MANIFEST) --quiet -p ztfast-fuzz
	src_ext/target/debug/ztfast-fuzz replay $(wildcard tests/differential/cases/*.json)
	src_ext/target/debug/ztfast-fuzz --requests 2000000 --failures build/fuzz-failures

fuzz: ## compare the engine with Cedar on random worlds: make fuzz SECONDS=600
	$(CARGO) build $(MANIFEST) --quiet -p ztfast-fuzz
	src_ext/target/debug/ztfast-fuzz --seconds $(SECONDS) --seed $$(date +%s) --failures build/fuzz-failures

# libFuzzer needs code that is compiled with its instrumentation, and AddressSanitizer needs its runtime. Stable
# compilers have neither.
CARGO_FUZZ := build/tools/cargo-fuzz-0.13.2
BUNDLES := build/fuzz-bundles
$(CARGO_FUZZ)/bin/cargo-fuzz:
	cargo install --debug --quiet --locked --version =$(lastword $(subst -, ,$(CARGO_FUZZ))) --root $(CARGO_FUZZ) cargo-fuzz

# The target, its folder, the test that writes the seeds, and options of AddressSanitizer. What a process keeps for good,
# such as the numbers of CRLs, is a leak to it.
define fuzz_files
	@if ! RUSTUP_AUTO_INSTALL=0 cargo +nightly --version >/dev/null 2>&1; then \
	  echo "SKIPPED $@: no nightly Rust toolchain (rustup toolchain install nightly)"; \
	elif ! ls "$$(rustc +nightly --print sysroot)"/lib/rustlib/*/lib/*rt.asan.a >/dev/null 2>&1; then \
	  echo "SKIPPED $@: $$(rustc +nightly --version) has no runtime of AddressSanitizer for this system"; \
	else \
	  $(MAKE) --no-print-directory $(CARGO_FUZZ)/bin/cargo-fuzz && mkdir -p $(2)/corpus $(2)/failures && \
	  ZTFAST_TEST_SEEDS="$(CURDIR)/$(2)/seeds" $(CARGO) test $(MANIFEST) --quiet -p ztfast-libfuzzer --test $(3) seeds && \
	  ASAN_OPTIONS="$(4)" PATH="$(CURDIR)/$(CARGO_FUZZ)/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir src_ext/libfuzzer \
	    --target-dir src_ext/target/libfuzzer --dev --features libfuzzer $(1) $(2)/corpus $(2)/seeds -- \
	    -max_total_time=$(SECONDS) -timeout=10 -max_len=131072 -artifact_prefix=$(2)/failures/; \
	fi
endef

fuzz-bundles: ## open mutated bundles and decide over them under libFuzzer, where there is a nightly toolchain: SECONDS=600
	$(call fuzz_files,bundle,$(BUNDLES),replay)

fuzz-certificates: ## verify mutated certificates and CRLs under libFuzzer, where there is a nightly toolchain: SECONDS=600
	$(call fuzz_files,certificate,build/fuzz-certificates,certificates,detect_leaks=0)

# Miri interprets every step, which takes minutes, so `make test` leaves it out. It would take hours for Cedar, so the
# bundles are compiled before.
MIRI := cargo +nightly miri test --locked $(MANIFEST) --target-dir src_ext/target/miri --quiet
MIRI_SEEDS := $(CURDIR)/build/miri
test-miri: ## run tests of what has unsafe code, and decisions over mutated bundles, under Miri, where there is one: minutes
	@if ! RUSTUP_AUTO_INSTALL=0 cargo +nightly miri --version >/dev/null 2>&1; then \
	  echo "SKIPPED test-miri: no nightly Rust toolchain with Miri" \
	    "(rustup toolchain install nightly --component miri,rust-src)"; \
	elif ! ls "$$(rustc +nightly --print sysroot)"/lib/rustlib/src/rust/library/Cargo.lock >/dev/null 2>&1; then \
	  echo "SKIPPED test-miri: Miri lacks the standard library's source (rustup component add rust-src --toolchain nightly)"; \
	else \
	  rm -rf "$(MIRI_SEEDS)" && export ZTFAST_TEST_SEEDS="$(MIRI_SEEDS)" MIRIFLAGS=-Zmiri-disable-isolation && \
	  $(CARGO) test $(MANIFEST) --quiet -p ztfast-libfuzzer --test replay seeds && \
	  $(MIRI) -p ztfast-vm -p ztfast-bundle -p ztfast-pages -p ztfast-live --lib && \
	  $(MIRI) -p ztfast-libfuzzer --test replay; \
	fi

# MUTANTS holds words that choose some of the mutants, and options (--help), as in
# make mutants MUTANTS="--json build/mutants.json --resume".
mutants: setup ## show that the fuzzer and the tests find the mistakes that are easily made
	$(BIN)/python tests/mutants $(MUTANTS)

# Of the tests that run alone, many measure time or memory, or keep both processors busy. The files of faults that run beside
# others start many short processes, and measure nothing that these change.
FAULTS := $(wildcard tests/faults/test_*.py)
ALONE := tests/bench tests/build tests/embed tests/threads tests/properties/test_histories_of_processes.py \
	$(filter-out $(patsubst %,tests/faults/test_%.py,bundle_files changed_files compiling),$(FAULTS))
FIRST := tests/api tests/identity tests/faults/test_bundle_files.py
test-python: $(TESTED)
	$(call beside,$(FIRST),$(FIRST:%=--ignore=%) $(ALONE:%=--ignore=%) --ignore=tests/spire)
	$(BIN)/python -m pytest $(ALONE)

# Two runs of pytest, one beside the other. Most tests take one processor.
define beside
mkdir -p build; $(BIN)/python -m pytest -p no:cacheprovider $(1) >build/beside.log 2>&1 & first=$$!; \
$(BIN)/python -m pytest $(2); second=$$?; wait $$first; first=$$?; cat build/beside.log; exit $$((first | second))
endef

# `make test-python` does a few hundred of each.
test-shared: $(TESTED) ## take rights away in 100,000 rounds of two processes, and run 1,000 histories of several: minutes
	ZTFAST_TEST_ROUNDS=100000 ZTFAST_TEST_HISTORIES=1000 $(BIN)/python -m pytest -s \
	  tests/faults/test_revocations_in_time.py tests/properties/test_histories_of_processes.py

# Without Go there is nothing to run, and the tests say so.
SPIRE := build/tools/spire/spire-agent
$(SPIRE): tests/spire/go.mod tests/spire/go.sum
	tests/spire/build.sh $(dir $@)

test-spire: $(EITHER) $(SPIRE) ## build SPIRE, which takes 13 minutes of processor time, and run the tests of workloads with it
	$(BIN)/python -m pytest tests/spire

# The shipped module has no assertions and is optimised across crates, so some tests run with it as well.
test-shipped: $(SHIPPED) ## build the module as it is shipped and run the tests of the API, the desk and threads with it
	$(call beside,tests/api,tests/differential README.md)
	$(BIN)/python -m pytest tests/threads

FREE_THREADED ?= $(shell command -v python3.15t || command -v python3.14t)
test-free-threaded: ## build for a CPython without the GIL and run the tests of threads, where there is one
	@if [ -z "$(FREE_THREADED)" ]; then \
	  echo "SKIPPED test-free-threaded: no python3.15t or python3.14t on the PATH (tests/threads/README.md says how to get one)"; \
	else \
	  $(PYTHON) tests/threads/free_threaded.py "$(FREE_THREADED)"; \
	fi

cpu-time: ## clone this into build/cold, run all tests there, and say how much processor time each part takes
	$(PYTHON) tests/build/cost.py

# PyO3's build scripts run again where these differ from what maturin sets, and the next build of the module would then compile
# PyO3 and the module anew.
SIGNATURE := import struct, sys; v = sys.version_info; \
	print(f"{sys.implementation.name}-{v[0]}.{v[1]}-{struct.calcsize(chr(80)) * 8}bit")
AS_MATURIN = PYO3_PYTHON=$(CURDIR)/$(BIN)/python PYO3_BUILD_EXTENSION_MODULE=1 \
	PYO3_ENVIRONMENT_SIGNATURE="$$($(BIN)/python -c '$(SIGNATURE)')"

# Linting links nothing, so libFuzzer, which the fuzzer's crate would compile, need not exist. The peers of the
# benchmarks are only formatted, because linting them would check Cedar once more.
lint: $(EITHER) ## formatters and linters
	cargo fmt $(MANIFEST) --all --check
	cargo fmt --manifest-path src_ext/loom/Cargo.toml --check
	cargo fmt --manifest-path examples/embed/rust/Cargo.toml --check
	cargo fmt --manifest-path bench/peers/rust/Cargo.toml -p ztfast-peers --check
	$(AS_MATURIN) $(CARGO) clippy $(MANIFEST) --workspace --exclude ztfast-icount --all-targets --quiet -- -D warnings
	$(CARGO) clippy $(MANIFEST) -p ztfast-icount --all-targets --quiet -- -D warnings
	CUSTOM_LIBFUZZER_PATH=/none/libfuzzer.a $(CARGO) clippy $(MANIFEST) -p ztfast-libfuzzer --features libfuzzer --bins \
	  --quiet -- -D warnings
	$(CARGO) clippy --manifest-path examples/embed/rust/Cargo.toml --target-dir src_ext/target/example --quiet -- -D warnings
	$(CARGO) clippy --manifest-path src_ext/loom/Cargo.toml --target-dir src_ext/target/loom --all-targets --quiet -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest ztfast._core ztfast.gate --allowlist tests/stubs.allowlist --mypy-config-file pyproject.toml
	@$(MAKE) --no-print-directory deny

# cargo-deny must fetch the list of known vulnerabilities. For its other checks it reads the lock file alone.
deny: ## check licences, sources and known vulnerabilities of the crates that are built on, where there is cargo-deny
	@if ! cargo deny --version >/dev/null 2>&1; then \
	  echo "SKIPPED deny: no cargo-deny (cargo install cargo-deny --locked). Licences, sources, bans and vulnerabilities of" \
	    "crates were not checked"; \
	else \
	  cargo deny --locked $(MANIFEST) check --hide-inclusion-graph bans licenses sources && \
	  if cargo deny --locked $(MANIFEST) fetch db; then \
	    cargo deny --locked $(MANIFEST) check advisories; \
	  else \
	    echo "SKIPPED deny: the list of vulnerabilities could not be fetched. Known vulnerabilities were not looked up"; \
	  fi; \
	fi

# This covers the code that is shipped. Tests may need a newer compiler.
OLDEST_RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' src_ext/Cargo.toml)
check-oldest-rust: $(VENV)/.requirements ## check that the oldest Rust that we promise compiles this, where it is installed
	@if ! RUSTUP_AUTO_INSTALL=0 cargo +$(OLDEST_RUST) --version >/dev/null 2>&1; then \
	  echo "SKIPPED check-oldest-rust: no Rust $(OLDEST_RUST)" \
	    "(rustup toolchain install $(OLDEST_RUST) --profile minimal). Only clippy looked for what is newer"; \
	else \
	  PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo +$(OLDEST_RUST) check --locked $(MANIFEST) --quiet \
	    --target-dir src_ext/target/oldest -p ztfast-python -p ztfast-embed; \
	fi

codes: ## write the lists of decision codes for C, Cython and Python from src_ext/codes
	UPDATE_CODES=1 $(CARGO) test $(MANIFEST) --quiet -p ztfast-codes --test copies

format: setup ## format everything
	cargo fmt $(MANIFEST) --all
	cargo fmt --manifest-path src_ext/loom/Cargo.toml
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# This compares with the run before, if there is one. It keeps the figures of the last run also if a mark was missed.
bench: setup ## measure decisions against this machine's floors and the run before; fails where a promised figure is missed
	mkdir -p build/bench
	if [ -f build/bench/latest.json ]; then cp build/bench/latest.json build/bench/before.json; fi
	$(BIN)/ztfast bench --marks --json build/bench/latest.json --svg build/bench/latest.svg --markdown build/bench/desk.md \
	  $$(test -f build/bench/before.json && echo --compare build/bench/before.json)

# Readers compare these figures with others: they are those of a machine that does nothing else.
figures: setup ## measure the desk, and write its figures into README.md and docs/figures.json
	mkdir -p build/bench
	$(BIN)/ztfast bench --json build/bench/figures.json
	$(BIN)/python -m bench.figures build/bench/figures.json

# Valgrind counts instructions, and noise does not change a count. The runner must have the version of the crate in
# src_ext/Cargo.toml.
GUNGRAUN := 0.20.0
RUNNER := build/tools/gungraun-$(GUNGRAUN)/bin/gungraun-runner

# The runner is built without optimisations: that halves the time of its build, and it runs only briefly.
$(RUNNER):
	cargo install --debug --quiet --locked --version =$(GUNGRAUN) --root build/tools/gungraun-$(GUNGRAUN) gungraun-runner

# What `make bench-instructions` runs, so that it can be compiled beside something else.
compile-counts: $(RUNNER)
	$(CARGO) bench $(MANIFEST) --quiet -p ztfast-icount --bench icount --no-run

bench-instructions: $(EITHER) $(RUNNER) ## count the instructions of a decision; fails where they are more than the limits
	@command -v valgrind >/dev/null || { echo "instruction counts need valgrind: it is not on the PATH"; exit 1; }
	mkdir -p build/bench
	$(BIN)/python -c 'from ztfast.bench import workload as of; of.bundle().save("build/bench/hot.ztb"); \
	  of.live_bundle().save("build/bench/live.ztb")'
	$(BIN)/ztfast compile examples/desk/policies -s examples/desk/desk.cedarschema -e examples/desk/desk.entities.json \
	  --exempt 'Action::"reduce-risk"' -o build/bench/desk.ztb >/dev/null
	GUNGRAUN_RUNNER=$(CURDIR)/$(RUNNER) $(CARGO) bench $(MANIFEST) --quiet -p ztfast-icount --bench icount
	$(BIN)/python -m bench.table

bench-python: setup ## benchmark the Python API with pytest-benchmark, and compare with the run before
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-autosave $$(test -d .benchmarks && echo --benchmark-compare)

bench-clock: ## measure how far the clock of the time-stamp counter is from UTC, for 30 s
	$(CARGO) run $(MANIFEST) --quiet --release -p ztfast-pages --example clock_error 30

bench-scale: setup ## compile, open, decide, change and swap at the scale of a whole firm
	$(BIN)/python -m bench.scale

bench-spire: setup $(SPIRE) ## decide 10,000 times a second for 5 minutes while SVIDs of 10 seconds rotate
	ZTFAST_TEST_SECONDS=300 $(BIN)/python -m pytest tests/spire/test_rotating_svids.py

# PEERS holds the names of peers; without it, all are measured.
bench-peers: setup ## answer one trading workload with other engines, too, and compare
	$(BIN)/python -m bench.peers setup $(PEERS)
	$(BIN)/python -m bench.peers run --json build/peers/results.json $(PEERS)

lock: $(VENV)/.requirements ## renew requirements/dev.txt from requirements/dev.in
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --no-header --allow-unsafe --strip-extras --no-emit-find-links -o requirements/dev.txt requirements/dev.in

clean: ## remove what was built
	rm -rf $(VENV) build .benchmarks src_ext/target ztfast/*.so ztfast/_desk
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
