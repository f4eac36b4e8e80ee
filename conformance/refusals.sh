#!/usr/bin/env bash
# What a client may get wrong, and what it is told: nothing changes, and every refusal says why.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs curl openssl

init
serve
apply <<'TOML'
[[product]]
name = "thermo"

[[product]]
name = "meter"
keys = ["p384"]

[[product]]
name = "slow"
approval = true
TOML

secret=$(token)
device=custom:SN-7
user=(-u "$device:$secret")
pkcs10=(-H 'Content-Type: application/pkcs10')
key "$work/good.key"
csr "$work/good.key" "$work/good.csr"
openssl base64 -in "$work/good.csr" -out "$work/good.b64"

echo "--- the request line"
request label "$est/toaster/simpleenroll" "${user[@]}" "${pkcs10[@]}" --data-binary "@$work/good.b64"
refused "a product that is not there is not found" label 404
request dots "$est/%2e%2e/simpleenroll" --path-as-is "${user[@]}" "${pkcs10[@]}" --data-binary "@$work/good.b64"
refused "encoded dots are not a product" dots 404
request dots "$est/../est/cacerts" --path-as-is
refused "dots are not resolved" dots 404
request percent "$est/%74hermo/simpleenroll" "${user[@]}" "${pkcs10[@]}" --data-binary "@$work/good.b64"
refused "an encoded label is not decoded" percent 404
request nothing "$est/enroll"
refused "an operation that EST has not is not found" nothing 404
for method in PUT DELETE PATCH GET; do
    request method "$est/simpleenroll" -X "$method" "${user[@]}"
    refused "simpleenroll takes no $method" method 405
    same "and says what it takes" "$(header method Allow)" POST
done
status=$(curl -sS --cacert "$root" -o /dev/null -w '%{http_code}' --head "${user[@]}" "$est/simpleenroll")
same "nor HEAD" "$status" 405

echo "--- the body"
request type "$est/simpleenroll" "${user[@]}" -H 'Content-Type: text/plain' --data-binary "@$work/good.b64"
refused "another type than PKCS#10 is refused" type 415
request type "$est/simpleenroll" "${user[@]}" -H 'Content-Type:' --data-binary "@$work/good.b64"
refused "and so is none" type 415
head -c 70000 /dev/zero | tr '\0' A >"$work/large"
request large "$est/simpleenroll" "${user[@]}" "${pkcs10[@]}" --data-binary "@$work/large"
refused "a body of more than 64 KiB is not read" large 413
request large "$est/simpleenroll" "${user[@]}" "${pkcs10[@]}" -H 'Transfer-Encoding: chunked' --data-binary "@$work/large"
refused "nor if it does not say its length" large 413
request empty "$est/simpleenroll" "${user[@]}" "${pkcs10[@]}" --data-binary ''
refused "an empty body is no request" empty 400
request garbage "$est/simpleenroll" "${user[@]}" "${pkcs10[@]}" --data-binary 'AAAA'
refused "base64 of something else is no request" garbage 400
request garbage "$est/simpleenroll" "${user[@]}" "${pkcs10[@]}" --data-binary '!?'
refused "what is not base64 is no request" garbage 400

echo "--- the certification request"
key "$work/other.key"
csr "$work/other.key" "$work/other.csr"
# One request with the other's signature, the last element of the outer SEQUENCE. The lengths of
# ECDSA signatures vary; the outer header must stay right.
until [ "$(wc -c <"$work/other.csr")" = "$(wc -c <"$work/good.csr")" ]; do
    csr "$work/other.key" "$work/other.csr"
done
signature() { openssl asn1parse -inform DER -in "$1" | sed -n 's/^ *\([0-9]*\):d=1 .*BIT STRING.*/\1/p'; }
{
    head -c "$(signature "$work/good.csr")" "$work/good.csr"
    tail -c "+$(($(signature "$work/other.csr") + 1))" "$work/other.csr"
} >"$work/forged.csr"
post forged simpleenroll "$work/forged.csr" "${user[@]}"
refused "a signature that does not hold proves nothing" forged 400 possession-unproven
weak() {
    local name=$1
    shift
    key "$work/weak.key" "$@"
    csr "$work/weak.key" "$work/weak.csr"
    post weak simpleenroll "$work/weak.csr" "${user[@]}"
    refused "$name is refused" weak 400
}
weak "RSA of 1024 bits" -algorithm RSA -pkeyopt rsa_keygen_bits:1024
weak "RSA with the exponent 3" -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3
weak "P-521" -algorithm EC -pkeyopt ec_paramgen_curve:P-521
weak "secp256k1" -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1
weak "P-256 with its parameters spelled out" -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit
weak "Ed448" -algorithm ED448
post product meter/simpleenroll "$work/good.csr" -u "custom:M-1:$(token --product meter)"
refused "a kind of key that the product does not take is refused" product 400 key-not-accepted
openssl req -new -key "$work/good.key" -outform DER -out "$work/password.csr" -config /dev/stdin <<'CONF'
[req]
distinguished_name = dn
attributes = attributes
prompt = no
[dn]
CN = x
[attributes]
challengePassword = c2VjcmV0
CONF
post password simpleenroll "$work/password.csr" "${user[@]}" --tls-max 1.2
refused "a channel binding on TLS 1.2 is said to be unsupported" password 400 channel-binding-unsupported
post password simpleenroll "$work/password.csr" "${user[@]}" --tlsv1.3
refused "one that is not this connection's is refused" password 403 channel-binding-mismatch

echo "--- the credential"
post anonymous simpleenroll "$work/good.csr"
refused "who shows nothing is asked" anonymous 401
check "for Basic" grep -qi '^Basic realm=' <<<"$(header anonymous WWW-Authenticate)"
post unknown simpleenroll "$work/good.csr" -u "$device:not-a-token"
refused "a token that is none is unknown" unknown 401
post scheme simpleenroll "$work/good.csr" -H 'Authorization: Basic !!!'
refused "a credential that cannot be read is none" scheme 401
post other meter/simpleenroll "$work/good.csr" "${user[@]}"
refused "a token is for its own product" other 403 product-mismatch
post hardware simpleenroll "$work/good.csr" -u "stm32:zz:$secret"
refused "a hardware id must be one" hardware 400 hardware-invalid
post reenroll simplereenroll "$work/good.csr"
refused "renewal without the present certificate is refused" reenroll 401
request verify "https://$https/v1/verify"
refused "verify without a certificate is refused" verify 401
openssl req -x509 -new -key "$work/good.key" -subj /CN=thermo-sn-7 -days 2 -out "$work/stranger.pem" 2>/dev/null
cp "$work/good.key" "$work/stranger.key"
verify stranger
refused "a stranger's certificate is told so, and not by a TLS alert" stranger.verify 403 CA_NOT_REGISTERED
post stranger simplereenroll "$work/good.csr" --cert "$work/stranger.pem" --key "$work/stranger.key"
refused "and renews nothing" stranger 403 certificate-issuer-unknown
post keygen serverkeygen "$work/good.csr" "${user[@]}"
refused "a key made by the server is off" keygen 403 server-keygen-off

echo "--- after all of that"
post good simpleenroll "$work/good.csr" "${user[@]}"
same "the token is as good as new" "$status" 200
certificate good
key "$work/next.key"
csr "$work/next.key" "$work/next.csr" /CN=somebody-else
post next simplereenroll "$work/next.csr" --cert "$work/good.pem" --key "$work/good.key"
refused "a renewal under another name is refused" next 400 subject-differs
csr "$work/good.key" "$work/shared.csr"
post shared simpleenroll "$work/shared.csr" -u "custom:SN-8:$(token)"
refused "a key that another device has is refused" shared 403 key-in-use
key "$work/twin.key"
csr "$work/twin.key" "$work/twin.csr"
post twin simpleenroll "$work/twin.csr" -u "$device:$(token)"
refused "a fresh token does not take a registered device over" twin 403 device-exists

echo "--- approval"
secret=$(token --product slow)
key "$work/slow.key"
csr "$work/slow.key" "$work/slow.csr"
post slow slow/simpleenroll "$work/slow.csr" -u "custom:S-1:$secret"
refused "a product may ask a person first" slow 202 approval-pending
check "and says when to come back" grep -Eq '^[0-9]+$' <<<"$(header slow Retry-After)"
check "an operator approves" imprint device approve slow-s-1
post slow slow/simpleenroll "$work/slow.csr" -u "custom:S-1:$secret"
same "then the same question is answered" "$status" 200

echo "--- old TLS"
for version in tls1 tls1_1; do
    check "$version is not spoken" grep -E 'alert (handshake failure|protocol version)' \
        <(openssl s_client "-$version" -cipher ALL:@SECLEVEL=0 -connect "$https" 2>&1 </dev/null)
done
finish
