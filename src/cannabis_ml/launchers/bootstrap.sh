#!/bin/sh
# Runs on the other machine, from the unpacked package: makes an environment from the lock unless
# CANNABIS_ML_PYTHON names an interpreter that has everything, then runs the job.
set -eu
cd "$(dirname "$0")/../../.."
mkdir -p conf/local
python="${CANNABIS_ML_PYTHON:-}"
if [ -z "$python" ]; then
    base="${CANNABIS_ML_BASE_PYTHON:-python3}"
    venv="${CANNABIS_ML_VENV:-$PWD/.venv}"
    lock="$(cat requirements.lock requirements-tflite.lock | sha256sum | cut -d' ' -f1)"
    if [ "$(cat "$venv/.lock" 2>/dev/null || true)" != "$lock" ]; then
        echo "Installing the packages of requirements.lock into $venv"
        "$base" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --requirement requirements.lock
        "$venv/bin/python" -m pip install --quiet --no-deps --requirement requirements-tflite.lock
        echo "$lock" > "$venv/.lock"
    fi
    python="$venv/bin/python"
fi
export PYTHONPATH="$PWD/src" PYTHONUNBUFFERED=1 DO_NOT_TRACK=1
exec "$python" -m cannabis_ml.launchers.there
