# Warder. POSIX make: works with bmake and GNU make alike.
#
#   make demo         builds, starts everything, does the whole job, leaves nothing behind
#   make up           a server to use; ARGS="--listen ADDR:PORT --state-dir DIR ..."
#   make test         all tests
#   make test-network the network promises of docs/network-modes.md, with real packets
.POSIX:

ARGS =
STAGE = target/stage

all: build

build:
	@scripts/prepare run
	@scripts/build

demo: build
	@scripts/as-root $(STAGE)/bin/warder demo $(ARGS)

up: build
	@scripts/as-root $(STAGE)/bin/warder up $(ARGS)

test:
	@scripts/prepare run test
	@scripts/build
	@scripts/test

# An internet of network namespaces around a host: docs/network-modes.md.
test-network:
	@scripts/prepare run test
	@scripts/build
	@scripts/test network

# 200 rounds of kill -9 at random points; `make test` does 20.
test-crash:
	@scripts/prepare run test
	@scripts/build
	@CRASH_ROUNDS=$${CRASH_ROUNDS:-200} scripts/test crash

# BENCH_FULL=1 goes up to 1,000 sandboxes and to 10 GiB up and down, instead of 200 and 1 GiB.
bench:
	@scripts/prepare run test bench
	@scripts/build
	@tests/bench/run $(ARGS)

# Every decoder of foreign bytes, for a while.
fuzz:
	@scripts/fuzz $(ARGS)

# Lints and links everything for FreeBSD; on FreeBSD itself, looks whether its headers are those it was written for.
freebsd-check:
	@if [ "$$(uname -s)" = FreeBSD ]; then scripts/freebsd-headers; else scripts/freebsd-check $(ARGS); fi

# Compares Warder's declarations with the headers of the FreeBSD host this runs on.
freebsd-headers:
	@scripts/freebsd-headers

# One tar for a FreeBSD host, with a script that tries everything there: docs/conformance.md.
freebsd-bundle:
	@scripts/freebsd-bundle $(ARGS)

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

clean:
	cargo clean

.PHONY: all build demo up test test-network test-crash bench fuzz freebsd-check freebsd-headers freebsd-bundle lint clean
