#!/bin/sh
# Type-checks the feature `cuda` on a machine without a CUDA toolkit.
#
# candle's kernels are compiled by nvcc in the build script of candle-kernels. Here that crate is replaced by its own
# sources with a build script that writes empty kernels, and cudarc is told a CUDA version instead of finding one.
# Nothing is linked, so no CUDA library is needed either. Takes a network only for crates that cargo has not got yet.
#
# Two minutes on two cores; with CARGO_TARGET_DIR set, the build is kept for the next time.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$work/target}"
export CUDARC_CUDA_VERSION="${CUDARC_CUDA_VERSION:-12080}"

# A package that only wants the feature. With the workspace's lock file, so that the versions are the same.
mkdir "$work/src"
: > "$work/src/lib.rs"
cp "$here/../../Cargo.lock" "$work/Cargo.lock"
cat > "$work/Cargo.toml" <<EOF
[package]
name = "check-cuda"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
ergometer-candle = { path = "$here", features = ["cuda"] }
EOF
cd "$work"

kernels=$(cargo metadata --format-version 1 | tr ',' '\n' | sed -n 's/.*"manifest_path":"\(.*candle-kernels-[^"]*\)\/Cargo\.toml".*/\1/p' | head -n 1)
[ -n "$kernels" ] || { echo 'check-cuda.sh: cargo names no candle-kernels' >&2; exit 1; }
cp -R "$kernels" candle-kernels
chmod -R u+w candle-kernels
cat > candle-kernels/build.rs <<'EOF'
//! One empty constant for each `mdl!(NAME, …)` in `lib.rs`.
use std::fmt::Write;
use std::{env, fs, path};

fn main() {
    let library = fs::read_to_string("src/lib.rs").unwrap();
    let mut constants = String::new();
    for name in library.split("mdl!(").skip(1) {
        let name: String = name.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
        writeln!(constants, "pub const {name}: &str = \"\";").unwrap();
    }
    fs::write(path::Path::new(&env::var("OUT_DIR").unwrap()).join("ptx.rs"), constants).unwrap();
}
EOF
cat >> Cargo.toml <<'EOF'

[patch.crates-io]
candle-kernels = { path = "candle-kernels" }
EOF

cargo clippy --package ergometer-candle -- --deny warnings
