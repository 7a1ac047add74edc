#!/usr/bin/env bash
# The core is plain values and plain functions: no AWS, no Lambda, no tokio, no HTTP client, not even
# through another crate. And a binary links only what its role needs. Asks cargo for the whole tree.
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

refuse switchboard-hooks 'reqwest|rlibphonenumber|switchboard-people|switchboard-analysis|switchboard-recordings' "a hook calls nobody and looks nobody up"
for package in switchboard-api switchboard-hooks switchboard-workers; do
    refuse "$package" 'aws-lc-.*|native-tls|openssl|openssl-sys' "there is one TLS stack, on ring"
done

[[ $failed == 0 ]] && echo "purity: the core depends on nothing that acts"
exit "$failed"
