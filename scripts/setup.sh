#!/usr/bin/env bash
# Makes the virtual environment `.venv` at the root of the repository: the pinned dependencies and
# Dolmen itself, editable. The Makefile runs it when the pins changed; running it again repairs an
# environment that was left half made. PYTHON names the interpreter, otherwise it is looked for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "set-up: $*" >&2
    exit 1
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# Debian's Python comes without what `python -m venv` needs; it is a package of its own.
has_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        is_supported "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.11 python3 python3.12 python3.13; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11, 3.12 or 3.13 is needed and none was found; install the package python3"
}

install_debian_package() {
    local package=$1
    command -v apt-get >/dev/null || fail "install what gives this Python the venv module ($package)"
    [[ $EUID -eq 0 ]] || fail "the Debian package $package is missing: run 'apt-get install $package' as root"
    echo "set-up: installing the Debian package $package"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
}

make_environment() {
    local python version
    python=$(find_python)
    if ! has_venv "$python"; then
        version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
        install_debian_package "python$version-venv"
        has_venv "$python" || fail "$python still has no venv module after installing python$version-venv"
    fi
    echo "set-up: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

if ! is_supported .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    make_environment
fi

# The builds use the pinned setuptools of this environment instead of fetching the newest one.
pip_install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
echo "set-up: installing the pinned dependencies and Dolmen"
"${pip_install[@]}" -r requirements/build.txt
"${pip_install[@]}" --no-build-isolation -r requirements/runtime.txt -r requirements/develop.txt
"${pip_install[@]}" --no-build-isolation --no-deps --editable .
echo "set-up: done"
