#!/usr/bin/env bash
# Azure's device SDK for Python, unmodified: it registers over MQTT, then connects to its hub.
python3 -c 'import azure.iot.device' 2>/dev/null || { echo "not installed: azure-iot-device"; exit 77; }
# shellcheck source=azure/fleet.bash
. "$(dirname "$0")/azure/fleet.bash"
here=$(cd "$(dirname "$0")" && pwd)
cd "$work"
azure_server

device() { timeout 90 python3 "$here/azure/client.py" "$@" >told.json 2>told.log; }

# provisioned NAME ID CREDENTIAL...: registers, asks again, connects to its hub.
provisioned() {
    local name=$1 id=$2
    shift 2
    check "$name: it registers" shown device register "$@"
    same "$name: it is assigned" "$(told .status)" assigned
    same "$name: to this server" "$(told .hub)" "$HOST"
    same "$name: under its own name" "$(told .device)" "thermo-$id"
    cp told.json first.json
    same "$name: it is not PROVISIONED yet" "$(state_of "thermo-$id")" "active VERIFY"
    check "$name: the whole again, as after a power cut" shown device register "$@"
    check "$name: has the same answer" cmp told.json first.json
    check "$name: it connects to its hub and sends a message" shown device hub "$1" "$HOST" "thermo-$id" "${@:3}"
    same "$name: and is PROVISIONED" "$(state_of "thermo-$id")" "active PROVISIONED"
}

echo "--- symmetric keys"
own=$(key_of sn-own)
provisioned "a key of its own" sn-own key sn-own "$own"
group=$(key_of --group line-1)
derived=$(imprint entry key line-1 sn-derived)
provisioned "a key that is derived" sn-derived key sn-derived "$derived"
same "the derived key is Azure's" "$derived" \
    "$(printf sn-derived | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf %s "$group" | openssl base64 -d -A | xxd -p -c 0)" -binary | openssl base64 -A)"

echo "--- certificates"
leaf sn-leaf
imprint entry new sn-leaf --product thermo --certificate sn-leaf.pem >/dev/null
provisioned "a certificate of its own" sn-leaf x509 sn-leaf sn-leaf.pem sn-leaf.key
authority maker
authority factory maker
leaf sn-chain factory
imprint entry new --group makers --product thermo --certificate maker.pem >/dev/null
provisioned "a certificate of its maker" sn-chain x509 sn-chain sn-chain.pem sn-chain.key

echo "--- no"
refused_as() { # refused_as SENTENCE ERROR ORDER...
    local sentence=$1 want=$2 status=0
    shift 2
    device "$@" || status=$?
    same "$sentence" "$status $(told '.error')" "3 $want"
}
wrong=$(openssl rand -base64 64 | tr -d '\n')
refused_as "a wrong key" CredentialError register key sn-own "$wrong"
check "why says so" why entry-proof-wrong sn-own
refused_as "the group's own key" CredentialError register key sn-other "$group"
SCOPE=0ne00000000 refused_as "another scope" CredentialError register key sn-own "$own"
refused_as "another device's certificate" CredentialError register x509 sn-other sn-leaf.pem sn-leaf.key
leaf sn-stranger
refused_as "a stranger's certificate" CredentialError register x509 sn-stranger sn-stranger.pem sn-stranger.key
refused_as "a wrong key at the hub" CredentialError hub key "$HOST" thermo-sn-own "$wrong"
imprint entry disable --group line-1 >/dev/null
refused_as "a disabled group" CredentialError register key sn-derived "$derived"
refused_as "a key of a disabled group at the hub" CredentialError hub key "$HOST" thermo-sn-derived "$derived"
imprint entry enable --group line-1 >/dev/null
check "enabled again, it connects" shown device hub key "$HOST" thermo-sn-derived "$derived"
imprint device quarantine thermo-sn-own --reason drill >/dev/null
refused_as "a device in quarantine, at the hub" CredentialError hub key "$HOST" thermo-sn-own "$own"
refused_as "a device in quarantine that registers" ClientError register key sn-own "$own"
check "why says so" why device-quarantined thermo-sn-own
imprint device revoke thermo-sn-chain --reason key-compromise >/dev/null
refused_as "a certificate that is revoked, at the hub" CredentialError \
    hub x509 "$HOST" thermo-sn-chain sn-chain.pem sn-chain.key
check "no key is in the journal" not grep -qF -e "$own" -e "$group" -e "$derived" <(imprint journal list --limit 1000 --json)
check "nor in the log" not grep -qF -e "$own" -e "$group" -e "$derived" "$work/serve.log"
finish
