#!/usr/bin/env bash
# Azure's SDK for JavaScript, unmodified: it registers over MQTT and over HTTPS.
node -e 'require("azure-iot-provisioning-device")' 2>/dev/null || { echo "not installed: azure-iot-provisioning-device"; exit 77; }
# shellcheck source=azure/fleet.bash
. "$(dirname "$0")/azure/fleet.bash"
here=$(cd "$(dirname "$0")" && pwd)
cd "$work"
azure_server
HTTPS_PORT=${https##*:}
NODE_EXTRA_CA_CERTS=$root
export HTTPS_PORT NODE_EXTRA_CA_CERTS
# The https listener is on 127.0.0.1; the MQTT one is where this SDK's port is.
device() {
    local host=$HOST
    [ "$1" = mqtt ] || host=localhost
    HOST=$host timeout 90 node "$here/azure/client.js" "$@" >told.json 2>told.log
}

# registered NAME TRANSPORT ID CREDENTIAL...: registers, and asks again.
registered() {
    local name="$1 over $2" over=$2 id=$3
    shift 3
    check "$name: it registers" shown device "$over" register "$@"
    same "$name: it is assigned" "$(told '"\(.status) \(.hub) \(.device)"')" "assigned $HOST thermo-$id"
    cp told.json first.json
    check "$name: the whole again" shown device "$over" register "$@"
    check "$name: has the same answer" cmp told.json first.json
    same "$name: it is to come to its hub" "$(state_of "thermo-$id")" "active VERIFY"
}

# refused_as SENTENCE TEXT ORDER...: the text is somewhere in what the SDK says.
refused_as() {
    local sentence=$1 want=$2 status=0
    shift 2
    device "$@" || status=$?
    same "$sentence" "$status" 3
    check "$sentence: $want" shown grep -q "$want" told.json
}

authority maker
imprint entry new --group makers --product thermo --certificate maker.pem >/dev/null
key_of --group line-1 >group.key
wrong=$(openssl rand -base64 64 | tr -d '\n')
for over in mqtt http; do
    own=$(key_of "sn-$over-own")
    registered "a key of its own" "$over" "sn-$over-own" key "sn-$over-own" "$own"
    derived=$(imprint entry key line-1 "sn-$over-derived")
    registered "a key that is derived" "$over" "sn-$over-derived" key "sn-$over-derived" "$derived"
    leaf "sn-$over-leaf"
    imprint entry new "sn-$over-leaf" --product thermo --certificate "sn-$over-leaf.pem" >/dev/null
    registered "a certificate of its own" "$over" "sn-$over-leaf" x509 "sn-$over-leaf" "sn-$over-leaf.pem" "sn-$over-leaf.key"
    leaf "sn-$over-chain" maker
    registered "a certificate of its maker" "$over" "sn-$over-chain" x509 "sn-$over-chain" "sn-$over-chain.pem" "sn-$over-chain.key"

    echo "--- no, over $over"
    case $over in mqtt) no="Not authorized" ;; http) no=entry-proof-wrong ;; esac
    refused_as "a wrong key" "$no" "$over" register key "sn-$over-own" "$wrong"
    case $over in http) no=scope-unknown ;; esac
    SCOPE=0ne00000000 refused_as "another scope" "$no" "$over" register key "sn-$over-own" "$own"
    imprint entry disable "sn-$over-own" >/dev/null
    case $over in http) no=entry-disabled ;; esac
    refused_as "a disabled entry" "$no" "$over" register key "sn-$over-own" "$own"
done
finish
