# One door to the repository. Each recipe is one or two plain commands, so that everything works without just.

# list the recipes
default:
    @just --list --unsorted

# is it tidy? formatting, lints, docs, the house rules
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    cargo test -p columba-check --test tidy -- --nocapture

# does it work? every test of every crate
test:
    cargo test --workspace

# is it still sans-IO? (needs: rustup target add wasm32v1-none)
wasm:
    cargo check --target wasm32v1-none -p columba-proto -p columba-broker

# install the outside clients and brokers that some tests talk to, into target/outside
outside:
    .ci/run outside

# live one simulated life again, exactly; without a seed, a thousand new ones
sim seed="":
    cargo run --release -p columba-check --example sim -- {{ if seed == "" { "--count 1000 --from " + `date +%s` } else { seed + " --verbose" } }}

# a hundred thousand simulated lives; goes on where it was stopped (target/sim-long says how far it is; remove it to begin anew)
sim-long count="100000":
    cargo run --release -p columba-check --example sim -- --count {{count}} --state target/sim-long --statistics

# kill -9 storms against the real program: so many kills each at QoS 1 and 2, with one shard and with four; COLUMBA_SEED repeats one
crash rounds="10":
    COLUMBA_CRASH_ROUNDS={{ rounds }} cargo test -p columba-cli --test kill -- --nocapture

# the power cut under load: the data directory on a disk of its own (needs root, a loop device, mkfs.ext4); COLUMBA_SEED repeats one
powercut rounds="10":
    COLUMBA_POWERCUT_ROUNDS={{ rounds }} COLUMBA_NO_SKIP=1 cargo test -p columba-cli --test powercut -- --nocapture

# look for inputs that break what must hold (needs nightly, a C++ compiler, cargo-fuzz): docs/fuzzing.md
fuzz target seconds="60":
    mkdir -p target/fuzz/corpus/{{ target }}
    cargo +nightly fuzz run --sanitizer none {{ target }} target/fuzz/corpus/{{ target }} fuzz/corpus/{{ target }} -- -max_total_time={{ seconds }} -timeout=10 -max_len=1024

# add to the committed corpus what long runs have found, as few files as reach it
fuzz-corpus target:
    cargo +nightly fuzz run --sanitizer none {{ target }} fuzz/corpus/{{ target }} target/fuzz/corpus/{{ target }} -- -set_cover_merge=1 -max_len=256

# CPU per delivered message, side by side with Debian's mosquitto
bench:
    cargo run --release -p columba-cli -- bench compare

# QoS 1 and 2 to persistent sessions beside mosquitto with persistence, and beside one bare sync of the same disk
bench-durable:
    cargo run --release -p columba-cli -- bench durable

# what good clients notice of each attack (p99 beside that without it, median of 5), what the attackers got, memory
attack *which:
    cargo run --release -p columba-cli -- bench attack {{ which }}
    COLUMBA_RENEWAL_CLIENTS=1000 cargo test --release -p columba-server --test transports certificates_are_renewed

# ten-second sanity of the load generator and the broker
bench-smoke:
    cargo run --release -p columba-cli -- bench compare --runs 1 --duration 1s --require 1

# exactly what CI runs
ci:
    .ci/run

# documentation of all crates, in the browser
doc:
    cargo doc --workspace --no-deps --open
