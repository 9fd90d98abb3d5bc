#!/usr/bin/env bash
# What CI runs, in the environment that make setup made: tools/check.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-.venv}/bin
step() { printf '\n== %s\n' "$*"; }

step 'lint and format'
"$bin/ruff" check .
"$bin/ruff" format --check .
step types
"$bin/mypy"
step 'import contracts'
"$bin/lint-imports" --no-cache
step documentation
NO_MKDOCS_2_WARNING=1 "$bin/mkdocs" build --strict --quiet --site-dir "$(mktemp -d)"
step tests
make test
step 'quick demo'
scratch=$(mktemp -d)
"$bin/tutelage" distill --teacher tutelage:cnn --student 'tutelage:small-cnn?widths=4,8' --data digits --epochs 4 --out "$scratch/demo"
"$bin/tutelage" export "$scratch/demo" --format int8 --out "$scratch/student.onnx"
"$bin/tutelage" report "$scratch/demo" >/dev/null
test -s "$scratch/demo/report.html"
echo 'All checks passed.'
