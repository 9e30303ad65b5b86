# SPDX-License-Identifier: GPL-2.0-or-later
# People and CI run the same targets. Each does its own set-up, and does it once: the stamps are in .venv/ and build/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# apache2-bin is the real httpd without the package that would start it as a service of this machine.
PACKAGES := clang clang-format llvm libbpf-dev libbpf1 linux-libc-dev iproute2 procps apache2-bin tcpdump nftables iptables \
            ethtool iputils-arping curl python3 python3-venv netbase
# What `make kernel` needs beside these.
MACHINE := qemu-system-x86 busybox-static cpio kmod
PEERS := wrk haproxy nginx libnginx-mod-stream
BPF_C := $(wildcard src/pylvs/bpf/*.bpf.c src/pylvs/bench/*.bpf.c)
BPF_O := $(BPF_C:.c=.o)
BPF_H := $(wildcard src/pylvs/bpf/*.h src/pylvs/bpf/*/*.h)
# Handlers and callbacks have the parameters that the kernel gives them, used or not.
PYTHON := $(shell find src/pylvs -name '*.py')
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/$(shell uname -m)-linux-gnu
# More than there are CPUs: half of what the tests do is to wait.
WORKERS := 3
LAB :=
BENCH :=
ATTACK :=

say = printf '\033[1m==>\033[0m %s\n'
fail = f() { printf 'make: %s\n' "$$*" >&2; exit 1; }; f
is_root = [ "$$(id -u)" = 0 ]

.PHONY: help setup bpf lab test attack kernel root check lint bench wheel clean
help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/ready build/compiled  ## what is missing: Debian packages (as root) and a virtual environment in .venv

bpf: build/packages $(BPF_O)  ## compile the BPF programs

lab: check  ## build the DR test build and run its experiment (LAB="--mode xdp" hands options on)
	@$(BIN)/pylvs lab run $(LAB)

test: check lint  ## everything: lint, then all tests
	@$(say) "tests"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup

attack: check  ## mutated packets, floods, kill -9, two CPUs at once: ten minutes (ATTACK="--seed 1 --only crash" hands options on)
	@$(BIN)/python -m tests.attack $(ATTACK)

kernel: check build/kernel/ready  ## the lab, by each method, on Debian 12's own kernel in a virtual machine
	@$(say) "each method over each hook on Linux 6.1, emulated: this takes some minutes"
	@tests/kernel/machine build/kernel/linux-image-*.deb tests/kernel/labs

root:
	@$(is_root) || { $(fail) "this makes network namespaces and loads BPF, so it needs root; run: sudo make $(firstword $(MAKECMDGOALS))"; }

check: root $(VENV)/ready build/compiled bpf
	@$(BIN)/python -m pylvs.lab.preflight

lint: $(VENV)/ready  ## ruff, mypy --strict, clang-format
	@$(say) "lint"
	@$(BIN)/ruff check -q src tests
	@$(BIN)/ruff format -q --check src tests
	@$(BIN)/mypy --no-error-summary
	@find src/pylvs/bpf tests/attack -name '*.[ch]' -print0 | xargs -0r clang-format --dry-run -Werror

bench: check build/peers/ready  ## measure everything, write docs/benchmarks.md (BENCH="packet --compare OLD.json" hands options on)
	@PYLVS_BENCH_PEERS=build/peers $(BIN)/python -m pylvs.bench --write docs $(BENCH)

build/kernel/ready: build/packages
	@$(say) "a virtual machine, and Debian 12's kernel"
	@$(is_root) || { $(fail) "another kernel needs packages, so it needs root; run: sudo make kernel"; }
	rm -rf build/kernel && mkdir -p build/kernel
	fetch() {
		DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends $(MACHINE) >/dev/null &&
		(cd build/kernel && apt-get download -q $$(apt-cache depends linux-image-amd64 | awk '$$1 == "Depends:" { print $$2 }') >/dev/null)
	}
	fetch 2>/dev/null || { apt-get update -q >/dev/null && fetch; } || \
		{ $(fail) "could not fetch $(MACHINE) and linux-image-amd64 from Debian's registry; fix the network or the proxy settings and run: make kernel"; }
	touch $@

wheel: $(VENV)/ready bpf  ## build dist/pylvs-*.whl, with the compiled BPF programs in it
	@$(BIN)/pip wheel -q --no-deps -w dist .
	@listing=$$($(BIN)/python -m zipfile -l dist/pylvs-*.whl)
	for file in $(BPF_O:src/%=%) share/man/man8/pylvsadm.8 bash-completion/completions/pylvsadm LICENSE; do
		grep -qF "$$file" <<<"$$listing" || { $(fail) "the wheel carries no $$file; run: make clean wheel"; }
	done

clean:  ## take away what was built (also .venv)
	@rm -rf build dist $(VENV) src/*.egg-info $(BPF_O)
	@find src tests -name __pycache__ -prune -exec rm -rf {} +

build/packages: Makefile
	@mkdir -p build
	missing=$$(for p in $(PACKAGES); do dpkg-query -Wf '$${Status}' "$$p" 2>/dev/null | grep -q 'install ok installed' || echo "$$p"; done)
	if [ -n "$$missing" ]; then
		missing=$$(echo $$missing)
		command -v apt-get >/dev/null || { $(fail) "no apt-get here: this set-up knows Debian 12 and Ubuntu 24.04. Install what matches: $$missing"; }
		$(is_root) || { $(fail) "packages are missing ($$missing); run: sudo make setup"; }
		$(say) "installing $$missing"
		export DEBIAN_FRONTEND=noninteractive
		{ apt-get update -q && apt-get install -yq --no-install-recommends $$missing; } >build/apt.log 2>&1 || \
			{ $(fail) "apt-get could not install $$missing (build/apt.log says why); is there no network to the Debian package registry? fix it or the proxy settings and run make again"; }
	fi
	touch $@

# What the director is measured beside is fetched and unpacked, not installed: no service of this machine is started.
build/peers/ready: Makefile | build/packages
	@$(is_root) || { $(fail) "the benchmark fetches Debian packages, so it needs root; run: sudo make bench"; }
	$(say) "fetching $(PEERS) into build/peers"
	rm -rf build/peers && mkdir -p build/peers/archives/partial
	fetch() { apt-get install -yqq --download-only --no-install-recommends -o Dir::Cache::archives="$(CURDIR)/build/peers/archives" $(PEERS) >/dev/null; }
	fetch 2>/dev/null || { apt-get update -q >/dev/null && fetch; } || \
		{ $(fail) "could not fetch $(PEERS) from the Debian package registry; fix the network or the proxy settings and run: make bench"; }
	find build/peers/archives -name '*.deb' -exec dpkg -x {} build/peers \;
	touch $@

# The first Python that is new enough and can make a virtual environment; the system's own first, which every user may run.
$(VENV)/ready: pyproject.toml | build/packages
	@if [ ! -x $(BIN)/python ]; then
		python=
		for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
			"$$p" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { python=$$p; break; }
		done
		[ -n "$$python" ] || { $(fail) "no Python 3.11 or newer with venv here; on Debian 12 or Ubuntu 24.04 run: apt-get install python3 python3-venv"; }
		$(say) "virtual environment in $(VENV) ($$($$python -V))"
		"$$python" -m venv $(VENV)
	fi
	$(say) "Python packages"
	$(BIN)/pip install -q --disable-pip-version-check -e '.[test]' >build/pip.log 2>&1 || \
		{ $(fail) "pip could not install (build/pip.log says why); is there no network to the Python package registry? fix it or the proxy settings and run make again"; }
	touch $@

# Modules as bytecode: without it each command compiles them anew where PYTHONDONTWRITEBYTECODE is set, or the user may
# not write here, and takes four times as long to start. A wheel's are compiled by pip.
build/compiled: $(PYTHON) | $(VENV)/ready
	@$(BIN)/python -m compileall -q src/pylvs
	mkdir -p build && touch $@

%.bpf.o: %.bpf.c $(BPF_H) | build/packages
	@$(say) "compiling $<"
	clang $(BPF_FLAGS) -c $< -o $@
	llvm-strip -g $@

.ONESHELL:
