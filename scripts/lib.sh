#!/usr/bin/env bash
# Shared by the scripts of this folder, which source it: the root, the target directory, tools, one build at a time.
#
# Sourcing it changes to the root of the repository and sets:
#   CARGO_TARGET_DIR   ${HEXAFN_TARGET_DIR:-$HOME/.cache/hexafn/target}: outside the clone, so that a second clone
#                      does not compile RocksDB again
#   PATH               with the folders of rustup and of the tools and servers that scripts/deps unpacks
# Run directly it prints this text.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/hexafn"
# shellcheck disable=SC2034  # used by scripts/deps
tools_dir="$cache_dir/bin"
export CARGO_TARGET_DIR="${HEXAFN_TARGET_DIR:-$HOME/.cache/hexafn/target}"
servers_dir="$cache_dir/servers"
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:$tools_dir:$servers_dir/bin"

# Progress goes to the standard error: the standard output belongs to the program that a script runs.
say() { printf '%s\n' "$*" >&2; }

# die MESSAGE [EXIT CODE]
die() {
  say "${0##*/}: $1"
  exit "${2:-1}"
}

have() { command -v "$1" >/dev/null 2>&1; }

# Prints the comment at the head of a script: its manual.
manual() { sed -n '2,/^$/s/^# \{0,1\}//p' "$1"; }

# help_if_asked "$@": prints the manual of the calling script and ends it when -h or --help is among the options.
# What follows `--` belongs to somebody else.
help_if_asked() {
  local word
  for word in "$@"; do
    case "$word" in
      --) return 0 ;;
      -h | --help)
        manual "$0"
        exit 0
        ;;
    esac
  done
}

# locked_cargo ARGUMENTS…: cargo, but never two at once in one target directory, whichever script or clone asks. Two
# builds of RocksDB side by side need more memory than a small machine has. Only for what compiles: tests run without
# the lock, since a test may itself call a script that builds.
locked_cargo() {
  mkdir -p "$CARGO_TARGET_DIR"
  local lock="$CARGO_TARGET_DIR/.hexafn-build.lock"
  if ! have flock; then
    cargo "$@" # cargo's own lock of the target directory is left
    return
  fi
  if ! flock --nonblock "$lock" true; then
    say "waiting for another build in the same target directory"
  fi
  # --close: a server that the build leaves behind (a compiler cache, say) does not keep the lock.
  flock --close "$lock" cargo "$@"
}

# with_rocksdb: links RocksDB as built once for this machine, and builds it when it is not there yet. One build serves the
# debug and the release profile, clippy and every clone; without it each of them compiles RocksDB for ten minutes.
with_rocksdb() {
  local version dir
  version="$(awk '/^name = "librocksdb-sys"/ { getline; gsub(/[^0-9.+]/, ""); print }' Cargo.lock)"
  [[ -n "$version" ]] || die "Cargo.lock names no librocksdb-sys"
  dir="$cache_dir/rocksdb/$version"
  export ROCKSDB_LIB_DIR="$dir" ROCKSDB_STATIC=1
  [[ ! -f "$dir/librocksdb.a" ]] || return 0
  say "building RocksDB $version once (about ten minutes on two cores)"
  local target="$cache_dir/rocksdb/build" lib
  (
    unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
    CARGO_TARGET_DIR="$target" locked_cargo build --release --manifest-path scripts/rocksdb/Cargo.toml >&2
  )
  lib="$(find "$target/release/build" -path '*librocksdb-sys-*' -name librocksdb.a -print -quit)"
  [[ -n "$lib" ]] || die "the build of RocksDB left no librocksdb.a in $target"
  grep -q "\"$version\"" scripts/rocksdb/Cargo.lock ||
    die "scripts/rocksdb builds another version than Cargo.lock has ($version); set the version in scripts/rocksdb/Cargo.toml"
  mkdir -p "$dir"
  # In one step: a library that is there is complete.
  cp "$lib" "$dir/librocksdb.a.new"
  mv "$dir/librocksdb.a.new" "$dir/librocksdb.a"
  rm -rf "$target"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  manual "scripts/lib.sh"
fi
