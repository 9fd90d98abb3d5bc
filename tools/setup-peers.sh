#!/usr/bin/env bash
# Makes the environment of the races: this project, editable, beside the libraries that it is raced against.
# tools/setup-peers.sh [FOLDER] [--with stable-pretraining], .venv-peers by default. Safe to run again; instant when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-peers
python=${PYTHON:-python3}
set_of_peers=benchmarks/requirements-peers.txt
asked=()
while [ $# -gt 0 ]; do
    case $1 in
        --with)
            peer=$(sed -n "s/^\(${2:-nothing}==[^ ]*\) *# on request.*/\1/p" "$set_of_peers")
            [ -n "$peer" ] || { echo "No peer on request is called '${2:-}': $(sed -n 's/==.*# on request.*//p' "$set_of_peers")" >&2; exit 2; }
            asked+=("$peer")
            shift 2
            ;;
        -*) echo "Unknown option $1: tools/setup-peers.sh [FOLDER] [--with PEER]" >&2; exit 2 ;;
        *) venv=$1; shift ;;
    esac
done

"$python" - <<'P'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: set PYTHON to a newer one, as in 'make race PYTHON=python3.12'")
P

# The stamp holds what the environment was made from, and the peers that came on request: these stay when the rest is renewed.
stamp="$venv/.ready"
inputs=$(cat pyproject.toml constraints.txt "$set_of_peers" tools/setup-peers.sh tools/torch_cpu_hook.py | sha256sum)
had=$(sed -n 's/^with //p' "$stamp" 2>/dev/null || true)
peers=$(printf '%s\n' $had "${asked[@]}" | sort -u | sed '/^$/d')
wanted=$(echo "$inputs"; for peer in $peers; do echo "with $peer"; done)
[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || exit 0

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# The variable reaches the build environments of packages too, which an option would not.
export PIP_CONSTRAINT="$PWD/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1
pip=("$venv/bin/pip" install --quiet)
echo "Installing this project and its peers into $venv (some minutes the first time)"
"${pip[@]}" torch
"${pip[@]}" --editable '.[vision,text,export,report]' --requirement <(grep -v '# on request\|# without dependencies' "$set_of_peers") $peers
"${pip[@]}" --no-deps --requirement <(grep '# without dependencies' "$set_of_peers")

# A torchvision that was built for CUDA does not import beside a CPU torch, and breaks others that look for it.
if ! "$venv/bin/python" -c 'import torchvision' 2>/dev/null; then
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    cp tools/torch_cpu_hook.py "$site/"
    echo 'import torch_cpu_hook' >"$site/torch_cpu_hook.pth"
    "$venv/bin/python" -c 'import torchvision' || { echo 'torchvision does not import, even with the hook' >&2; exit 1; }
fi
complaints=$("$venv/bin/pip" check | grep -v '^liger-kernel .* requires triton\|^No broken' || true)
[ -z "$complaints" ] || { echo "$complaints" >&2; exit 1; }
echo "$wanted" >"$stamp"
