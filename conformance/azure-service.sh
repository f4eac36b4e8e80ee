#!/usr/bin/env bash
# Azure's service client for JavaScript, unmodified: a script writes enrollments down, and devices with
# the device SDK register by them.
for package in azure-iot-provisioning-service azure-iot-provisioning-device; do
    node -e "require('$package')" 2>/dev/null || { echo "not installed: $package"; exit 77; }
done
# shellcheck source=azure/fleet.bash
. "$(dirname "$0")/azure/fleet.bash"
here=$(cd "$(dirname "$0")" && pwd)
cd "$work"
azure_server
ADMIN_PORT=$(listener "$(grep -m1 '^ready ' "$work/ready")" admin)
HTTPS_PORT=${https##*:}
NODE_EXTRA_CA_CERTS=$root
CONNECTION=$(imprint service-key new scripts --product thermo --host localhost)
export ADMIN_PORT HTTPS_PORT NODE_EXTRA_CA_CERTS CONNECTION
service() { timeout 90 node "$here/azure/service.js" "$@" >told.json 2>told.log; }
device() { HOST=localhost timeout 90 node "$here/azure/client.js" http register "$@" >told.json 2>told.log; }
refused() { # refused SENTENCE STATUS CODE CALL...
    local sentence=$1 want=$2 code=$3 status=0
    shift 3
    service "$@" || status=$?
    same "$sentence" "$status $(told .status)" "3 $want"
    check "$sentence: $code" grep -qF "[$code]" told.json
}
mine=$(openssl rand -base64 64 | tr -d '\n')
record() { # record ID [JSON]: an individual enrollment
    jq -nc --arg id "$1" --argjson more "${2:-{\}}" '{registrationId: $id, attestation: {type: "symmetricKey"}} * $more'
}
with_keys() { jq -nc --arg key "$1" '{attestation: {symmetricKey: {primaryKey: $key, secondaryKey: $key}}}'; }

echo "--- individual enrollments"
check "create, with a key of one's own" shown service createOrUpdateIndividualEnrollment "$(record sn-1 "$(with_keys "$mine")")"
same "the answer has no key in it" "$(told '.attestation.symmetricKey | length')" 0
same "it is enabled" "$(told .provisioningStatus)" enabled
cp told.json sn-1.json
refused "create it again" 409 enrollment-exists createOrUpdateIndividualEnrollment "$(record sn-1)"
check "create, with keys that the server makes" shown service createOrUpdateIndividualEnrollment "$(record sn-2)"
made=$(told .attestation.symmetricKey.primaryKey)
check "which are said then" [ "${#made}" = 88 ]
check "get" shown service getIndividualEnrollment sn-2
same "and not again" "$(told '.attestation.symmetricKey | length')" 0
check "a device registers by it" shown device key sn-2 "$made"
same "it is assigned" "$(told '"\(.status) \(.device)"')" "assigned thermo-sn-2"
check "the enrollment has its state" shown service getIndividualEnrollment sn-2
same "which is assigned" "$(told .registrationState.status)" assigned
check "so has the registration" shown service getDeviceRegistrationState sn-2
same "with the device's name" "$(told .deviceId)" thermo-sn-2

echo "--- updates"
check "disable it, by its etag" shown service createOrUpdateIndividualEnrollment "$(jq -c '.provisioningStatus = "disabled"' sn-1.json)"
same "it is disabled" "$(told .provisioningStatus)" disabled
cp told.json new.json
check "the etag is another" not grep -qF "$(jq -r .etag sn-1.json)" new.json
refused "by the etag that it had" 412 etag-differs createOrUpdateIndividualEnrollment "$(cat sn-1.json)"
check "the keys stayed" shown service createOrUpdateIndividualEnrollment "$(jq -c '.provisioningStatus = "enabled"' new.json)"
check "a device registers by the key that it had" shown device key sn-1 "$mine"
check "the journal says who" [ "$(imprint journal list --limit 1000 --json | jq -r '[.[] | select(.kind == "entry-changed") | .actor] | unique[]')" = service/scripts ]

echo "--- groups"
authority maker
leaf sn-chain maker
group=$(jq -nc --rawfile pem maker.pem '{enrollmentGroupId: "makers", attestation: {type: "x509", x509: {signingCertificates: {primary: {certificate: $pem}}}}}')
check "a group of an authority" shown service createOrUpdateEnrollmentGroup "$group"
same "its certificate is described" "$(told .attestation.x509.signingCertificates.primary.info.subjectName)" CN=maker
check "a device of its maker registers" shown device x509 sn-chain sn-chain.pem sn-chain.key
keys=$(jq -nc --arg key "$mine" '{enrollmentGroupId: "line-1", attestation: {type: "symmetricKey", symmetricKey: {primaryKey: $key, secondaryKey: $key}}}')
check "a group with keys" shown service createOrUpdateEnrollmentGroup "$keys"
for n in 1 2 3; do
    derived=$(printf "sn-g$n" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf %s "$mine" | openssl base64 -d -A | xxd -p -c 0)" -binary | openssl base64 -A)
    check "device $n of the group registers" shown device key "sn-g$n" "$derived"
done
check "the group's registrations, two at a time" shown service query registrations 2 line-1
same "are three" "$(told '[.pages[] | length] | tostring')" "[2,1]"

echo "--- query and bulk"
bulk() { jq -nc --arg mode "$1" --argjson all "$2" '{mode: $mode, enrollments: $all}'; }
five=$(for n in 1 2 3 4 5; do record "bulk-$n"; done | jq -sc .)
check "five at once" shown service runBulkEnrollmentOperation "$(bulk create "$five")"
same "all are made" "$(told '"\(.isSuccessful) \(.errors | length)"')" "true 0"
six=$(record bulk-6 | jq -c --argjson five "$five" '[.] + $five')
check "again, with one more" shown service runBulkEnrollmentOperation "$(bulk create "$six")"
same "that one is made and five are not" "$(told '"\(.isSuccessful) \([.errors[].errorCode] | unique | tostring) \(.errors | length)"')" "false [409004] 5"
check "all enrollments, three at a time" shown service query enrollments 3
same "are eight" "$(told '[.pages[] | length] | tostring')" "[3,3,2]"
check "all groups" shown service query enrollmentGroups 10
same "are two" "$(told '.pages[0] | map(.enrollmentGroupId) | tostring')" '["line-1","makers"]'
check "delete five at once" shown service runBulkEnrollmentOperation "$(bulk delete "$five")"
same "all are gone" "$(told .isSuccessful)" true

echo "--- deletions"
check "the registration of a device" shown service deleteDeviceRegistrationState sn-1
check "it may register again" shown device key sn-1 "$mine"
refused "delete by an etag that it had" 412 etag-differs deleteIndividualEnrollment "$(cat sn-1.json)"
check "delete" shown service deleteIndividualEnrollment sn-1
refused "get what is gone" 404 entry-unknown getIndividualEnrollment sn-1
not_heard() { local status=0; device "$@" || status=$?; [ "$status" = 3 ]; }
check "its device is not heard any more" not_heard key sn-1 "$mine"
check "delete a group" shown service deleteEnrollmentGroup makers
check "its device is not heard any more" not_heard x509 sn-chain sn-chain.pem sn-chain.key

echo "--- no"
refused "the keys, without the right to them" 401 service-key-access getIndividualEnrollmentAttestationMechanism sn-2
refused "a policy that is not here" 400 enrollment-unsupported createOrUpdateIndividualEnrollment "$(record sn-9 '{"allocationPolicy": "custom"}')"
refused "a short key" 400 key-length createOrUpdateIndividualEnrollment "$(record sn-9 "$(with_keys AAAA)")"
all=$CONNECTION
CONNECTION=$(imprint service-key new reader --product thermo --host localhost --access read)
check "a reader reads" shown service getIndividualEnrollment sn-2
refused "a reader that writes" 401 service-key-access deleteIndividualEnrollment sn-2
CONNECTION=$(imprint service-key new keeper --product thermo --host localhost --access keys)
check "who may, gets the keys" shown service getIndividualEnrollmentAttestationMechanism sn-2
same "which are those that were made" "$(told .symmetricKey.primaryKey)" "$made"
check "and the journal says so" grep -q entry-keys-revealed <(imprint journal list --limit 1000 --json)
CONNECTION="HostName=localhost;SharedAccessKeyName=scripts;SharedAccessKey=$(openssl rand -base64 32)"
refused "another key" 401 service-key-wrong getIndividualEnrollment sn-2
imprint service-key revoke scripts >/dev/null
CONNECTION=$all
refused "a key that was taken back" 401 service-key-wrong getIndividualEnrollment sn-2
secret=${all##*=SharedAccessKey=}
for text in "$mine" "$made" "${secret##*SharedAccessKey=}"; do
    check "no key is in the journal or the log" not grep -qF -e "$text" <(imprint journal list --limit 1000 --json; cat "$work/serve.log")
done
finish
