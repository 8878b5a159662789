#!/bin/sh
# Make a locked Python environment in .venv and see to SoftHSM2. Usage: scripts/install.sh [run|dev]
# As root missing Debian packages are installed; without root SoftHSM2 is unpacked below ~/.cache/portcullis, through a
# private apt state folder that leaves the system alone. Safe to repeat: what is there is kept.
set -eu

what=${1:-run}
cd "$(dirname "$0")/.."
softhsm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/portcullis/softhsm
places='/usr/lib/softhsm /usr/lib/*-linux-gnu/softhsm /usr/lib64/pkcs11 /usr/local/lib/softhsm /opt/homebrew/lib/softhsm'

say() { printf 'install: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

apt_updated=
apt_install() {
    command -v apt-get >/dev/null || return 1
    if [ -z "$apt_updated" ]; then
        apt-get update -q >&2 || say 'the package list could not be renewed, trying with the one that is there'
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

# As root the system's Python comes first: other users can run it, so each process can have a user of its own.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || stop "PYTHON=$PYTHON is not Python 3.11 to 3.14"
        command -v "$PYTHON"
        return
    fi
    candidates='python3 python3.13 python3.12 python3.11 python3.14'
    is_root && candidates="/usr/bin/python3 $candidates"
    for candidate in $candidates; do
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    stop 'no Python 3.11 to 3.14 was found: install one, or name it as in PYTHON=/path/to/python3 make install'
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

make_environment() {
    if [ -x .venv/bin/python ] && fits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python)
    if ! has_venv "$python"; then
        is_root || stop "$python has no venv module: ask an administrator for: apt-get install python3-venv"
        apt_install python3-venv || stop 'python3-venv could not be installed: apt-get install python3-venv'
        has_venv "$python" || stop "$python still has no venv module: name another in PYTHON=/path/to/python3"
    fi
    rm -rf .venv
    "$python" -m venv .venv
}

# Installed for exactly these files, or installed again.
stamp_of() { cat pyproject.toml "$@" | cksum | tr ' ' '-'; }

install_packages() {
    lock=requirements.lock
    [ "$what" = dev ] && lock=requirements-dev.lock
    stamp=$(stamp_of requirements-build.lock "$lock")
    [ -e ".venv/installed-$what-$stamp" ] && return
    # What the development environment holds includes what running needs.
    if [ "$what" = run ] && [ -e ".venv/installed-dev-$(stamp_of requirements-build.lock requirements-dev.lock)" ]; then
        return
    fi
    say "installing the locked packages of $lock into .venv"
    pip='.venv/bin/python -m pip --disable-pip-version-check --quiet --no-input'
    $pip install --require-hashes -r requirements-build.lock -r "$lock" ||
        stop 'the packages could not be installed: see the message above; is the package index reachable?'
    $pip install --no-deps --no-build-isolation --no-index -e .
    rm -f ".venv/installed-$what-"*
    : >".venv/installed-$what-$stamp"
}

module_of() {
    for place in $places; do
        [ -e "$place/libsofthsm2.so" ] && echo "$place/libsofthsm2.so" && return
    done
    find "$softhsm_cache/usr/lib" -name libsofthsm2.so 2>/dev/null | head -n 1
}

private_apt() {
    apt-get -q -o Dir::State="$private/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$private/cache" \
        -o Dir::Log="$private" -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@" >&2
}

# Download SoftHSM2 and whatever of its dependencies the system lacks, and unpack them without installing anything.
unpack_softhsm() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    private=$(mktemp -d)
    trap 'rm -rf "$private"' EXIT
    mkdir -p "$private/state/lists/partial" "$private/cache/archives/partial" "$private/debs" "$softhsm_cache"
    private_apt update || return 1
    needed='softhsm2 softhsm2-common libsofthsm2'
    for package in $(apt-cache -o Dir::State="$private/state" -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$private/cache" depends --important libsofthsm2 | sed -n 's/^ *Depends: //p'); do
        dpkg -s "$package" >/dev/null 2>&1 || case $package in
            softhsm2* | debconf* | '<'*) ;;
            *) needed="$needed $package" ;;
        esac
    done
    # One word per package:
    # shellcheck disable=SC2086
    (cd "$private/debs" && private_apt download $needed) || return 1
    for deb in "$private"/debs/*.deb; do
        dpkg-deb -x "$deb" "$softhsm_cache" || return 1
    done
}

see_to_softhsm() {
    [ -n "${PORTCULLIS_PKCS11_MODULE:-}" ] && return
    [ -n "$(module_of)" ] && return
    if is_root; then
        apt_install softhsm2 || say 'softhsm2 could not be installed by apt'
    else
        say "unpacking SoftHSM2 below $softhsm_cache (no root needed)"
        unpack_softhsm || say 'SoftHSM2 could not be unpacked'
    fi
    [ -n "$(module_of)" ] || stop 'no SoftHSM2: run as root: apt-get install softhsm2
(or give your own token: PORTCULLIS_PKCS11_MODULE and PORTCULLIS_<POWER>_URI, see docs/guides/own-servers.md)'
}

# The engine is compiled once for this machine, so that services, which may not write here, start at once.
warm_engine() {
    .venv/bin/python -m rules.warm || say 'the engine will be compiled at its first start instead (about a minute)'
}

# What tests run that Python has no package for: a compiler and a vendor's library here, a chain and Safe's contracts where
# drills keep them.
install_npm_packages() {
    .venv/bin/python -m drills.evm.packages || stop 'the packages of drills could not be installed: see the message above'
    folder=tests/npm
    cmp -s "$folder/package-lock.json" "$folder/node_modules/installed-lock.json" && return
    command -v npm >/dev/null || stop 'no npm: run as root: apt-get install nodejs npm'
    say "installing the locked packages of $folder/package-lock.json"
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error ||
        stop 'the npm packages could not be installed: see the message above; is the registry reachable?'
    cp "$folder/package-lock.json" "$folder/node_modules/installed-lock.json"
}

case $what in
run | dev) ;;
*) stop "usage: scripts/install.sh [run|dev]" ;;
esac
make_environment
install_packages
warm_engine
[ "$what" = run ] || install_npm_packages
see_to_softhsm
