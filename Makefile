# What can be done here; `make help` lists it.

SHELL = /bin/bash
CARGO ?= cargo
scripts = fuzz/run tests/core-dependencies tests/setup tests/rooms tests/demo tests/openwrt/tools/build cross/rust-src cross/build cross/cargo cross/toolchain cross/link cross/test cross/test-container cross/expectations cross/sizes .ci/run \
	$(addprefix tests/firmware/, image from-debian from-source instructions openwrt/procd openwrt/uci) \
	openwrt/ipk openwrt/apk openwrt/unpack openwrt/test.sh \
	$(addprefix openwrt/files/postern., init defaults rpcd button) \
	$(addprefix tests/openwrt/base/, lib/functions.sh lib/functions/network.sh etc/rc.common etc/init.d/rpcd ubus apk) \
	packaging/debian/prerm packaging/debian/postinst packaging/debian/postrm

.DEFAULT_GOAL = help
.PHONY: boot help demo test fuzz test-fuzz test-core test-no-os test-agent test-netns bench bench-datagrams bench-flood bench-forward bench-honest bench-scans bench-instructions lint package-check setup cross sizes test-cross test-mips test-firmware test-firmware-mipsel test-lockout ipk apk deb docs

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | column -t -s '|'

demo: setup ## knock, enter, be shut out again: everything real, in network namespaces (root)
	$(CARGO) build --release --locked -p postern
	tests/demo

test: setup ## all layers of tests, whichever of them fail
	@$(MAKE) --no-print-directory --keep-going test-no-os test-core test-fuzz test-agent test-netns test-mips test-firmware-mipsel

test-core: ## what a knock means: no kernel, no clock
	$(CARGO) test --locked -p postern-core

test-no-os: ## core builds without an operating system, needs no crate that it should not, and cannot panic
	cross/rust-src
	RUSTC_BOOTSTRAP=1 $(CARGO) build --locked -p postern-core --target x86_64-unknown-none -Zbuild-std=core
	tests/core-dependencies
	RUSTC_BOOTSTRAP=1 $(CARGO) build --locked --release --manifest-path tests/no_panic/Cargo.toml \
		--target x86_64-unknown-none -Zbuild-std=core --target-dir $${CARGO_TARGET_DIR:-target}/no_panic

test-fuzz: setup ## hostile bytes for every parser, games for the engine: the same each time, beside the kernel and libuci (root)
	fuzz/run

fuzz: setup ## the same, on and on: FUZZ_SECONDS each (600), from what was found before (root)
	fuzz/run $${FUZZ_SECONDS:-600}

test-agent: setup ## the program's parts, with libnftnl and without (root)
	$(CARGO) test --locked -p postern
	$(CARGO) test --locked -p postern --no-default-features --features client,spa

test-netns: setup ## the program with the real kernel, clients and servers, in network namespaces (root)
	$(CARGO) build --locked -p postern
	$(CARGO) test --locked -p postern-tests --no-fail-fast

test-lockout: setup ## ways to lose access, each with its owner inside at the end, and how long that took (root)
	$(CARGO) build --locked -p postern
	$(CARGO) test --locked -p postern-tests --test netns -- lockout::

bench: setup ## Postern beside knockd, fwknopd and a ruleset without daemon, in a quarter of an hour; docs/measurements is written anew (root)
	$(CARGO) build --release --locked -p postern -p postern-tests
	target=$${CARGO_TARGET_DIR:-target}; $$target/release/bench all .

bench-flood: setup ## one part of it: honest knocks under floods (root)
	$(CARGO) build --release --locked -p postern -p postern-tests
	target=$${CARGO_TARGET_DIR:-target}; $$target/release/bench flood

bench-datagrams: setup ## another: honest datagrams under forged ones, beside fwknopd (root)
	$(CARGO) build --release --locked -p postern -p postern-tests
	target=$${CARGO_TARGET_DIR:-target}; $$target/release/bench datagrams

bench-honest: setup ## honest knocks under every kind of flood, for two hours (root)
	$(CARGO) build --release --locked -p postern -p postern-tests
	target=$${CARGO_TARGET_DIR:-target}; $$target/release/bench honest

bench-forward: setup ## another: bulk TCP through a router, beside the guard and without (root)
	$(CARGO) build --release --locked -p postern -p postern-tests
	target=$${CARGO_TARGET_DIR:-target}; $$target/release/bench forward

bench-scans: setup ## scans of all ports, a thousand single ones and twenty minutes on end for each approach, for hours (root)
	$(CARGO) build --release --locked -p postern -p postern-tests
	target=$${CARGO_TARGET_DIR:-target}; $$target/release/bench scans

bench-instructions: ## instructions that core takes on MIPS for a knock, counted by QEMU (root)
	@tests/setup instructions
	@tests/firmware/instructions

cross: ## static programs for routers, in target/TARGET/router; takes minutes the first time
	cross/build

sizes: ## how large they are, beside the last commit's
	@tests/setup cross
	@cross/sizes

test-cross: ## the same, run under qemu-user, and what the container builds compared (root)
	@tests/setup cross
	cross/test
	cross/test-container

test-mips: ## the program for big-endian MIPS alone (root)
	@tests/setup cross
	cross/test mips-unknown-linux-musl

test-firmware: ## emulated routers: MIPS of both byte orders, ARMv7, AArch64, with a network, a disk and a serial line (root)
	@$(MAKE) --no-print-directory machines="mips mipsel armv7 aarch64 openwrt" boot

test-firmware-mipsel: ## one of them, and one with the package for OpenWrt (root)
	@$(MAKE) --no-print-directory machines="mipsel openwrt" boot

# Images of these machines, and their tests.
boot:
	@tests/setup firmware
	@case " $(machines) " in *" mips "*) tests/setup kernel ;; esac
	tests/firmware/image $(machines)
	$(CARGO) build --locked -p postern-tests --test firmware
	@status=0; for machine in $(machines); do \
		$(CARGO) test --locked --quiet -p postern-tests --test firmware -- $$machine/ || status=1; \
	done; exit $$status

ipk: ## an OpenWrt package, up to 24.10, of the target TARGET (mips-unknown-linux-musl, say)
	@openwrt/ipk $(TARGET)

apk: ## an OpenWrt package, from 25.12 on, of the target TARGET; takes OpenWrt's own program apk
	@openwrt/apk $(TARGET)

deb: setup ## a Debian package of this machine's architecture
	$(CARGO) deb --locked -p postern

docs: ## write anew what is made from the tables: docs/options.md, manual pages, completions for shells
	BLESS=1 $(CARGO) test --quiet --locked -p postern-core --test docs
	BLESS=1 $(CARGO) test --quiet --locked -p postern --lib -- made_from_the_tables

lint: setup ## format, lints, documentation, licences of what is linked, shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p postern --no-default-features --all-targets -- -D warnings
	RUSTFLAGS="--cfg fuzzing" $(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps -p postern-core
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace --document-private-items
	@command -v cargo-deny >/dev/null || \
		$(CARGO) install --locked --debug --version 0.20.2 --no-default-features cargo-deny
	@# Not advisories: their database is fetched from the network, and changes under one's feet.
	$(CARGO) deny --locked check licenses bans sources
	tests/rooms
	shellcheck --external-sources $(scripts)

package-check: ## both crates as cargo packages them: they build, and core's tests pass there too
	rm -rf $${CARGO_TARGET_DIR:-target}/package
	$(CARGO) package --locked --allow-dirty -p postern-core -p postern
	target=$$(realpath $${CARGO_TARGET_DIR:-target}); CARGO_TARGET_DIR=$$target $(CARGO) test \
		--manifest-path $$target/package/postern-core-*/Cargo.toml

setup:
	@tests/setup
	@tests/openwrt/tools/build >/dev/null
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked --debug --version 3.8.0 cargo-deb
