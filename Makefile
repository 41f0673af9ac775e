# Everything a developer does, each command with its own set-up.
#
#   make demo    build, run the order pipeline on a nats-server of its own, show what comes out
#   make test    every test
#   make bench   ours against a native loop on the same client (takes some minutes)
#   make chaos   kill hosts and server at random: EVENTS=20000 HOST_KILLS=50 SERVER_KILLS=5 [SEED=7]
#   make sim     the dispatcher on a model of JetStream, with faults by chance (SEEDS=10000 SEED=0)
#   make conformance  the model of JetStream against nats-server 2.10, 2.12 and 2.15
#   make check   format, lints, licences: what a change has to pass besides the tests
#   make clean   remove everything that was built or fetched

.PHONY: demo test bench chaos sim conformance check clean tools
.DEFAULT_GOAL := help

# Builds say what they do; make need not repeat it.
MAKEFLAGS += --no-print-directory

help:
	@sed -n 's/^#   //p' Makefile

# What needs the network the first time, before anything that does not.
tools:
	@command -v cargo >/dev/null || { echo "error: cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@scripts/setup-nats >/dev/null

# Where cargo puts what it builds.
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
RELEASE := $(TARGET)/release
GUESTS := PELTON="$(RELEASE)/pelton" scripts/build-guests

demo: tools
	cargo build --release --bin pelton --example demo
	$(GUESTS) examples/orders examples/orders/build
	$(GUESTS) plugins examples/orders/build
	@$(RELEASE)/examples/demo

test: tools
	@scripts/setup-languages >/dev/null
	@scripts/setup-nats 2.10.26 >/dev/null
	PELTON_NATS_SERVER="$$(scripts/setup-nats)" cargo test --lib --bins --tests
	cargo test --manifest-path plugins/Cargo.toml

bench: tools
	cargo build --release --bin pelton --example bench
	$(GUESTS) tests/guests target/components/tests/guests
	@$(RELEASE)/examples/bench

chaos: tools
	cargo build --release --bin pelton --example chaos
	$(GUESTS) tests/guests target/components/tests/guests
	@$(RELEASE)/examples/chaos $(if $(EVENTS),--events $(EVENTS)) $(if $(HOST_KILLS),--host-kills $(HOST_KILLS)) \
		$(if $(SERVER_KILLS),--server-kills $(SERVER_KILLS)) $(if $(SEED),--seed $(SEED))

sim: tools
	cargo build --release --example sim
	@$(RELEASE)/examples/sim --seeds $(or $(SEEDS),10000) --first-seed $(or $(SEED),0)

# Servers that are fetched once, whatever is on PATH.
conformance: tools
	@for version in 2.10.26 2.12.8 2.15.1; do scripts/setup-nats $$version >/dev/null || exit 1; done
	cargo build --example conformance
	@$(TARGET)/debug/examples/conformance $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--first-seed $(SEED)) \
		$$(scripts/setup-nats 2.10.26) $$(scripts/setup-nats 2.12.8) $$(scripts/setup-nats 2.15.1)

check:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo deny check licenses bans sources

clean:
	cargo clean
	rm -rf .tools plugins/target
	git clean --quiet -fdX examples
