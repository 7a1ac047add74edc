#!/usr/bin/env bash
# Lambda's provided.al2023 has glibc 2.34: a binary that needs a newer symbol does not start there.
set -euo pipefail
cd "$(dirname "$0")/../.."

newest=2.34
shopt -s nullglob
binaries=(target/lambda/*/bootstrap)
if [[ ${#binaries[@]} == 0 ]]; then
    echo "glibc: there is no binary in target/lambda; run: make build" >&2
    exit 1
fi

failed=0
for binary in "${binaries[@]}"; do
    needed=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -Vu | tail -1 || true)
    if [[ -z $needed ]]; then
        echo "glibc: $binary names no glibc symbol; is it a dynamic binary?" >&2
        failed=1
    elif [[ $(printf '%s\n%s\n' "$needed" "$newest" | sort -V | tail -1) != "$newest" ]]; then
        echo "glibc: $binary needs $needed, newer than $newest" >&2
        failed=1
    else
        echo "glibc: $binary needs $needed"
    fi
done
exit "$failed"
