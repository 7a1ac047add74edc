#!/usr/bin/env bash
# The core is plain values and plain functions: no AWS, Lambda, tokio or HTTP client, directly or through another
# crate. A binary links only what its role needs. Reads the whole dependency tree from cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."

failed=0

# refuse <package> <pattern of crate names> <why>
refuse() {
    local tree found
    tree=$(cargo tree --locked --edges normal --no-default-features --prefix none --format '{p}' --package "$1")
    found=$(cut -d' ' -f1 <<<"$tree" | sort -u | grep -Ex "$2" || true)
    if [[ -n $found ]]; then
        echo "$1 depends on $(paste -sd' ' <<<"$found"): $3" >&2
        failed=1
    fi
}

shell='aws[-_].*|lambda_.*|tokio(-.*)?|hyper(-.*)?|reqwest'
for package in switchboard-domain switchboard-analysis switchboard-providers switchboard-people switchboard-crm switchboard-http switchboard-recordings; do
    refuse "$package" "$shell" "the core depends on nothing that acts"
done

refuse switchboard-hooks 'reqwest|rlibphonenumber|switchboard-people|switchboard-analysis|switchboard-recordings' "a hook sends no request and looks up no number"
for package in switchboard-api switchboard-hooks switchboard-workers; do
    refuse "$package" 'aws-lc-.*|native-tls|openssl|openssl-sys' "there is one TLS stack, on ring"
done

[[ $failed == 0 ]] && echo "purity: the core depends on nothing that acts"
exit "$failed"
