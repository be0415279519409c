#!/usr/bin/env bash
# Makes sure that what the build needs is there. On Debian it installs what is missing; elsewhere,
# or where that is not possible, it says in one line what to install. Run by `make`.
#
#   scripts/setup.sh             for the plain build
#   scripts/setup.sh --rocksdb   also for `--features understudy-node/rocksdb`
#   scripts/setup.sh --python    also for the tests that are clients in Python
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

rocksdb=false
python=false
for argument in "$@"; do
    case "$argument" in
        --rocksdb) rocksdb=true ;;
        --python) python=true ;;
        *) say "unknown argument $argument; there are --rocksdb and --python"; exit 2 ;;
    esac
done

# The library that reads C headers, with the headers that belong to it: on Debian only the -dev
# package has both, and only it brings the name without a version.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    local names=(/usr/lib/llvm-*/lib/libclang.so /usr/lib{,64}/libclang.so /usr/lib/*/libclang.so /usr/local/lib/libclang.so)
    local name
    for name in "${names[@]}"; do
        [ -e "$name" ] && return 0
    done
    return 1
}

install_packages() {
    if ! have apt-get; then
        say "please install: $* (this is no Debian, so not done for you)"
        exit 1
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || { say "please run as root: apt-get install $*"; exit 1; }
        as_root=(sudo)
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

missing=()
have cc || missing+=(gcc libc6-dev)
have git || missing+=(git)
have curl || missing+=(curl ca-certificates)
if $rocksdb; then
    have c++ || missing+=(g++)
    have_libclang || missing+=(libclang-dev)
fi
if $python; then
    # Debian's python3 alone makes no environment that has pip.
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
fi
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"

# Outside the checkout, like the build. Made anew when the list of packages has changed.
if $python; then
    wanted="$(dirname "$0")/../node/tests/python/requirements.txt"
    environment="${XDG_CACHE_HOME:-$HOME/.cache}/understudy/python"
    if ! cmp -s "$wanted" "$environment/installed.txt"; then
        say "installing Python packages for the tests into $environment"
        python3 -m venv "$environment"
        "$environment/bin/pip" install -q --disable-pip-version-check -r "$wanted"
        cp "$wanted" "$environment/installed.txt"
    fi
fi

# The toolchain in rust-toolchain.toml, by rustup.
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
if ! have cargo; then
    # Debian has it from version 13 on.
    if have apt-cache && apt-cache policy rustup | grep -q 'Candidate: [0-9]'; then
        install_packages rustup
    else
        say "installing Rust with rustup"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --default-toolchain none \
            || { say "Rust is missing and could not be fetched; install rustup from https://rustup.rs, then run make again"; exit 1; }
    fi
fi
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
cargo --version >/dev/null 2>&1 \
    || { say "the toolchain that rust-toolchain.toml names could not be had; run: rustup toolchain install"; exit 1; }
