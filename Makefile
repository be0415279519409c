# `make demo` shows it, `make test` checks it. Everything else is `cargo xtask`.
SHELL := /bin/bash

# Outside the checkout, so that a fresh clone does not build the dependencies anew.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/understudy/target
# Found also where rustup was only just installed.
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Your own documents, one JSON object a line: make demo DATA=FILE [ID_FIELD=id]
DATA ?=
ID_FIELD ?= id

.PHONY: demo test fix

demo:
	@scripts/setup.sh
	cargo build --release --locked -p understudy-node
	$(CARGO_TARGET_DIR)/release/understudy demo $(if $(DATA),--data $(DATA) --id-field $(ID_FIELD))

# With RocksDB, which is C++: a quarter of an hour the first time.
test:
	@scripts/setup.sh --rocksdb --python
	cargo xtask ci

fix:
	cargo xtask fix
