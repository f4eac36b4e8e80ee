#!/usr/bin/env bash
# strongSwan's `pki --estca` and `pki --est`, as Debian ships them: enroll, wait, renew.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs curl openssl pki

init
serve
apply <<'TOML'
[[product]]
name = "thermo"

[[product]]
name = "slow"
approval = true
TOML
cd "$work"

swan() { # a TPM that is not there is no concern of ours
    pki "$@" 2> >(grep -v tcti >&2)
}

echo "--- the authorities"
check "pki --estca fetches the authorities" swan --estca --url "https://$https" --cacert "$root" \
    --caout swan-ca.pem --outform pem --force
check "their root is ours" cmp <(openssl x509 -in "$root" -outform DER) <(openssl x509 -in swan-ca.pem -outform DER)
authorities=()
for file in swan-ca*.pem; do authorities+=(--cacert "$file"); done
same "there are two of them" "${#authorities[@]}" 4

est() { # est NAME ARGUMENT...: a certificate into NAME.pem
    local name=$1
    shift
    swan --est --url "https://$https${path:-}" "${authorities[@]}" --outform pem "$@" >"$name.pem" &&
        openssl verify -CAfile "$root" -untrusted <(cat swan-ca*.pem) "$name.pem"
}
est_is_refused() { # the same, and the server must say 403
    local name=$1
    shift
    ! est "$name" "$@" 2>"$name.error" && cat "$name.error" && grep 'HTTP 403' "$name.error"
}
request_for() { # request_for NAME TYPE SIZE DN
    swan --gen --type "$2" ${3:+--size "$3"} --outform pem >"$1.key" &&
        swan --req --in "$1.key" --dn "$4" --outform pem >"$1.csr"
}

echo "--- enroll and renew"
check "pki makes a key and a request" request_for first ecdsa 256 'C=CH, O=x, CN=whatever'
secret=$(token)
check "pki --est enrolls with a token" est first --in first.csr --userpass "custom:SW-1:$secret"
cp first.pem once.pem
check "and again, as after a lost reply" est first --in first.csr --userpass "custom:SW-1:$secret"
check "with the same certificate" cmp first.pem once.pem
check "it works over mutual TLS" curl -sSf --cacert "$root" --cert first.pem --key first.key "https://$https/v1/verify"
check "pki makes the next key and request" request_for next ecdsa 256 'CN=thermo-sw-1'
check "pki --est renews with the present certificate" est next --in next.csr --cert first.pem --key first.key
same "for the same device" "$(openssl x509 -in next.pem -noout -subject)" "$(openssl x509 -in first.pem -noout -subject)"
check "in another certificate" not cmp first.pem next.pem
check "it works over mutual TLS" curl -sSf --cacert "$root" --cert next.pem --key next.key "https://$https/v1/verify"
check "the old one is refused from then on" est_is_refused old --in next.csr --cert first.pem --key first.key
key thief.key
csr thief.key thief.csr
check "the token is not for another key" est_is_refused thief --in thief.csr --userpass "custom:SW-1:$secret"

echo "--- other keys, other paths"
check "pki makes an RSA request" request_for rsa rsa 2048 'CN=x'
check "an RSA device enrolls" est rsa --in rsa.csr --userpass "custom:SW-2:$(token)"
check "pki makes an Ed25519 request" request_for ed ed25519 '' 'CN=x'
check "an Ed25519 device enrolls" est ed --in ed.csr --userpass "custom:SW-3:$(token)"
check "pki makes a request for a product's path" request_for path ecdsa 384 'CN=x'
path=/thermo
check "the product may stand before the path, where pki puts it" est path --in path.csr --userpass "custom:SW-4:$(token)"
path=

echo "--- waiting for a person"
check "pki makes a request" request_for slow ecdsa 256 'CN=x'
secret=$(token --product slow)
pki --est --url "https://$https" --userpass "custom:SW-5:$secret" "${authorities[@]}" --in slow.csr \
    --interval 1 --maxpolltime 120 --outform pem >slow.pem 2>slow.log &
swan_pid=$!
for _ in $(seq 50); do
    imprint device list --json | grep -q slow-sw-5 && break
    sleep 0.1
done
check "an operator sees the device and approves it" imprint device approve slow-sw-5
waited=0
wait "$swan_pid" || waited=$?
grep -v tcti slow.log || true
same "pki --est waits for it" "$waited" 0
check "and gets its certificate" openssl x509 -in slow.pem -noout
finish
