#!/usr/bin/env bash
# EST by hand, with nothing but curl and openssl: RFC 7030, from the first certificate to renewal.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs curl openssl

init
serve
apply <<'TOML'
[[product]]
name = "thermo"
TOML

echo "--- the authorities"
request cacerts "$est/cacerts"
same "cacerts is answered" "$status" 200
same "its type is bare, as BouncyCastle wants" "$(header cacerts Content-Type)" application/pkcs7-mime
same "its encoding is said, though RFC 8951 lets nobody read it" "$(header cacerts Content-Transfer-Encoding)" base64
check "its length is said" test -n "$(header cacerts Content-Length)"
check "its headers fit in strongSwan's 1,024 bytes" test "$(wc -c <"$work/cacerts.headers")" -le 1024
openssl base64 -d -in "$work/cacerts.body" | openssl pkcs7 -inform DER -print_certs -out "$work/chain.pem"
same "it has the root and the issuing authority" "$(grep -c BEGIN "$work/chain.pem")" 2
check "curl needs no more than the root to trust the server" \
    curl -sS --cacert "$root" -o /dev/null "$est/cacerts"
chain() { openssl verify -x509_strict -purpose sslclient -CAfile "$root" -untrusted "$work/chain.pem" "$1"; }
is_the_first() { cat "$work/$1.error" && certificate "$1" && cmp "$work/first.pem" "$work/$1.pem"; }
subject() { openssl x509 -in "$work/$1.pem" -noout -subject; }

echo "--- the first certificate"
device=custom:SN-0001
secret=$(token)
key "$work/first.key"
csr "$work/first.key" "$work/first.csr"
post first simpleenroll "$work/first.csr" -u "$device:$secret"
same "a token and a key make a certificate" "$status" 200
same "its type says what it is, as libest wants" "$(header first Content-Type)" \
    "application/pkcs7-mime; smime-type=certs-only"
check "it is exactly one certificate" certificate first
check "openssl verifies it, strictly, for client authentication" chain "$work/first.pem"
check "it holds the device's own key" cmp \
    <(openssl pkey -in "$work/first.key" -pubout) <(openssl x509 -in "$work/first.pem" -noout -pubkey)
check "it names the device and not what the request said" \
    equal "$(subject first)" "subject=CN = thermo-sn-0001"

echo "--- the same question"
csr "$work/first.key" "$work/again.csr"
check "the second request is another one" not cmp "$work/first.csr" "$work/again.csr"
post again simpleenroll "$work/again.csr" -u "$device:$secret"
same "the same key asks again and is answered" "$status" 200
check "it gets the same certificate, byte for byte" is_the_first again
forms() {
    local name=$1
    shift
    request form "$est/simpleenroll" -u "$device:$secret" -H 'Content-Type: application/pkcs10' "$@"
    check "the request may come as $name ($status)" is_the_first form
}
openssl base64 -A -in "$work/again.csr" -out "$work/one-line"
openssl base64 -in "$work/again.csr" | sed 's/$/\r/' >"$work/crlf"
openssl req -inform DER -in "$work/again.csr" -out "$work/pem"
forms "one line of base64" --data-binary "@$work/one-line"
forms "lines that end in CRLF" --data-binary "@$work/crlf"
forms "PEM" --data-binary "@$work/pem"
forms "DER" --data-binary "@$work/again.csr"
forms "chunks" -H 'Transfer-Encoding: chunked' --data-binary "@$work/one-line"
forms "base64 that says so" -H 'Content-Transfer-Encoding: base64' --data-binary "@$work/one-line"
forms "a body that waits for 100" -H 'Expect: 100-continue' --data-binary "@$work/one-line"
forms "HTTP 1.0" --http1.0 --data-binary "@$work/one-line"
forms "TLS 1.2" --tls-max 1.2 --data-binary "@$work/one-line"
forms "TLS 1.3" --tlsv1.3 --data-binary "@$work/one-line"
forms "an answer to 401" --anyauth --data-binary "@$work/one-line"

echo "--- the same token, another key"
key "$work/thief.key"
csr "$work/thief.key" "$work/thief.csr"
post thief simpleenroll "$work/thief.csr" -u "$device:$secret"
refused "a second key is refused and told so" thief 403 token-leased

echo "--- proof of receipt"
verify first --tlsv1.3
same "the certificate works over TLS 1.3" "$status" 200
check "the answer is the device's record" grep -q '"thermo-sn-0001"' "$work/first.verify.body"
verify first --tls-max 1.2
same "the certificate works over TLS 1.2" "$status" 200
post thief simpleenroll "$work/thief.csr" -u "$device:$secret"
refused "a spent token is refused to another key" thief 403 token-spent
post again simpleenroll "$work/again.csr" -u "$device:$secret"
check "it answers its own key still, with the same certificate" is_the_first again

echo "--- renewal"
key "$work/renewed.key"
csr "$work/renewed.key" "$work/renewed.csr" /CN=thermo-sn-0001
post renewed simplereenroll "$work/renewed.csr" --cert "$work/first.pem" --key "$work/first.key"
same "the present certificate asks for the next one" "$status" 200
check "it is one certificate" certificate renewed
check "openssl verifies it" chain "$work/renewed.pem"
same "it names the same device" "$(subject renewed)" "$(subject first)"
verify first
same "the old one works while the new one is unused" "$status" 200
verify renewed
same "the new one works" "$status" 200
verify first
refused "from then on the old one is refused" first.verify 403 certificate-superseded

echo "--- every kind of key"
kind() {
    local name=$1
    shift
    key "$work/$name.key" "$@"
    csr "$work/$name.key" "$work/$name.csr"
    post "$name" thermo/simpleenroll "$work/$name.csr" -u "custom:kind-$name:$(token)"
    same "a key of kind $name is certified" "$status" 200
    check "it is one certificate" certificate "$name"
    check "openssl verifies it" chain "$work/$name.pem"
    verify "$name"
    same "it works in TLS" "$status" 200
}
kind p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
kind p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
kind ed25519 -algorithm ED25519
kind rsa2048 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
kind rsa3072 -algorithm RSA -pkeyopt rsa_keygen_bits:3072
kind rsa4096 -algorithm RSA -pkeyopt rsa_keygen_bits:4096

echo "--- the rest of RFC 7030"
request csrattrs "$est/csrattrs"
check "csrattrs is answered, or there are none" test "$status" = 200 -o "$status" = 204
if [ "$status" = 200 ]; then
    openssl base64 -d -in "$work/csrattrs.body" -out "$work/csrattrs.der"
    check "csrattrs is DER" openssl asn1parse -inform DER -in "$work/csrattrs.der"
fi
request labelled "$est/thermo/cacerts"
same "a product's path has the same authorities" "$(cat "$work/labelled.body")" "$(cat "$work/cacerts.body")"
request before "https://$https/thermo/.well-known/est/cacerts"
same "and so has the path that strongSwan makes of it" "$(cat "$work/before.body")" "$(cat "$work/cacerts.body")"
same "two requests go over one connection" \
    "$(curl -sS --cacert "$root" -o /dev/null -o /dev/null -w '%{num_connects} ' "$est/cacerts" "$est/cacerts")" "1 0 "
secret=$(token --hardware custom:SN-0002)
key "$work/bound.key"
csr "$work/bound.key" "$work/bound.csr"
post bound simpleenroll "$work/bound.csr" -u ":$secret"
same "a token that is bound to hardware needs no user name" "$status" 200
check "its certificate" certificate bound
same "names that hardware" "$(subject bound)" "subject=CN = thermo-sn-0002"
finish
