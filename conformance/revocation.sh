#!/usr/bin/env bash
# `imprint device revoke` means something to whoever reads the CRL.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs curl openssl

init
serve
apply <<'TOML'
[[product]]
name = "thermo"
TOML
request cacerts "$est/cacerts"
openssl base64 -d -in "$work/cacerts.body" | openssl pkcs7 -inform DER -print_certs -out "$work/chain.pem"

# The issuing authority is the one that has signed a device's certificate.
enroll good custom:GOOD-1 "$(token)"
enroll bad custom:BAD-1 "$(token)"
verify good
verify bad
same "both devices are members" "$status" 200

name=issuing
fetch() { # fetch NUMBER: the CRL as NUMBER.crl, and its cRLNumber in $number
    check "the CRL is served over http" curl -sSf -o "$work/$1.crl" -D "$work/$1.headers" "http://$http/crl/$name.crl"
    same "its type is RFC 2585's" "$(header "$1" Content-Type)" application/pkix-crl
    number=$((16#$(openssl crl -inform DER -in "$work/$1.crl" -noout -crlnumber | sed 's/.*=//;s/^0x//')))
    openssl crl -inform DER -in "$work/$1.crl" -out "$work/$1.crl.pem"
    check "openssl verifies the CRL's signature" grep 'verify OK' \
        <(openssl crl -in "$work/$1.crl.pem" -noout -CAfile "$work/chain.pem" 2>&1)
}
judge() { # judge DEVICE CRL: openssl's error number, 0 if it is content
    local said
    said=$(openssl verify -crl_check -CAfile "$root" -untrusted "$work/chain.pem" \
        -CRLfile "$work/$2.crl.pem" "$work/$1.pem" 2>&1 || true)
    said=$(sed -n 's/^error \([0-9]*\) .*/\1/p' <<<"$said" | head -n 1)
    echo "${said:-0}"
}

fetch before
first=$number
same "neither device is on it" "$(judge good before) $(judge bad before)" "0 0"
check "it says when the next one comes" grep 'nextUpdate=.' <(openssl crl -in "$work/before.crl.pem" -noout -nextupdate)

check "an operator revokes a device" imprint device revoke thermo-bad-1
for _ in $(seq 25); do # the next list comes with the server's next look, twice a second
    curl -sS -o "$work/next.crl" "http://$http/crl/$name.crl"
    cmp -s "$work/before.crl" "$work/next.crl" || break
    sleep 0.2
done
fetch after
check "the CRL's number has grown ($first, then $number)" test "$number" -gt "$first"
same "openssl refuses the revoked one (23) and no other" "$(judge good after) $(judge bad after)" "0 23"
verify bad
refused "the server refuses it too" bad.verify 403
verify good
same "and goes on with the other" "$status" 200

stop
serve
fetch later
check "the number does not fall when the server restarts" test "$number" -ge "$first"
same "what is revoked stays revoked" "$(judge good later) $(judge bad later)" "0 23"
check "the authority's certificate is served over http" curl -sSf -o "$work/issuing.crt" "http://$http/ca/$name.crt"
check "as DER" openssl x509 -inform DER -in "$work/issuing.crt" -noout
request secret "http://$http/.well-known/est/cacerts"
same "EST is not spoken in the clear" "$status" 404
finish
