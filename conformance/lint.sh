#!/usr/bin/env bash
# pkilint, pinned and with nothing suppressed, finds nothing at WARNING or above in what we sign:
# 200 certificates of every profile, from random inputs, and the CRLs over them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs openssl lint_pkix_cert lint_crl lint_pkix_signer_signee_cert_chain
python=$(dirname "$(command -v lint_pkix_cert)")/python3
here=$(dirname "$0")

init --name 'Flotte Zürich'
# With a public address, certificates say where their CRL and issuer are.
sed -i '/^#* *public_http *=/d' "$work/dir/imprint.toml"
sed -i '1i public_http = "http://pki.example:8080"' "$work/dir/imprint.toml"
serve
apply <"$here/lint-fleet.toml"

for product in plain endless wordy named bare; do
    check "200 devices of product $product" "$python" "$here/lint.py" devices \
        --imprint "$IMPRINT" --dir "$work/dir" --https "$https" --root "$root" --product "$product" --count 200
    tail -n 1 "$work/check.log"
done
check "their CRLs" "$python" "$here/lint.py" crls \
    --imprint "$IMPRINT" --dir "$work/dir" --http "$http" --https "$https" --root "$root" --count 20
tail -n 1 "$work/check.log"
check "200 roots, issuing authorities and servers" "$python" "$here/lint.py" authorities \
    --imprint "$IMPRINT" --work "$work" --count 200
tail -n 1 "$work/check.log"
check "the linter finds what is wrong" "$python" "$here/lint.py" control --work "$work"
finish
