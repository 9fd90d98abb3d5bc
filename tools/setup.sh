#!/usr/bin/env bash
# Makes the virtual environment of this project: tools/setup.sh [FOLDER], .venv by default. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}

"$python" - <<'P'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: set PYTHON to a newer one, as in 'make setup PYTHON=python3.12'")
P
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

# The variable reaches the build environments of packages too, which an option would not.
export PIP_CONSTRAINT="$PWD/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1
echo "Installing into $venv (a minute or two the first time)"
"$venv/bin/pip" install --quiet torch
"$venv/bin/pip" install --quiet --editable '.[dev]'

# A torchvision that was built for CUDA does not import beside a CPU torch, and breaks others that look for it.
if ! "$venv/bin/python" -c 'import torchvision' 2>/dev/null; then
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    cp tools/torch_cpu_hook.py "$site/"
    echo 'import torch_cpu_hook' >"$site/torch_cpu_hook.pth"
    "$venv/bin/python" -c 'import torchvision' || { echo 'torchvision does not import, even with the hook' >&2; exit 1; }
fi
"$venv/bin/pip" check
touch "$venv/.ready"
