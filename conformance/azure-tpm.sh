#!/usr/bin/env bash
# Azure's SDK for JavaScript with a TPM, unmodified, against swtpm: it is challenged, it is assigned, it gets its key
# into the TPM, and it comes to its hub with a signature by that key.
node -e 'require("azure-iot-security-tpm")' 2>/dev/null || { echo "not installed: azure-iot-security-tpm"; exit 77; }
# shellcheck source=azure/fleet.bash
. "$(dirname "$0")/azure/fleet.bash"
here=$(cd "$(dirname "$0")" && pwd)
needs swtpm swtpm_setup mosquitto_pub
cd "$work"
azure_server
HTTPS_PORT=${https##*:}
NODE_EXTRA_CA_CERTS=$root
export HTTPS_PORT NODE_EXTRA_CA_CERTS

# tpm NAME: a new TPM, which answers at $work/NAME/socket.
tpm() {
    mkdir -p "$work/$1/state"
    swtpm_setup --tpm2 --tpmstate "$work/$1/state" --logfile "$work/$1/setup.log" >/dev/null || { cat "$work/$1/setup.log"; exit 1; }
    swtpm socket --tpm2 --tpmstate "dir=$work/$1/state" --server "type=unixio,path=$work/$1/socket" \
        --ctrl "type=unixio,path=$work/$1/control" --flags not-need-init,startup-clear >"$work/$1/log" 2>&1 &
    beside+=($!)
    for _ in $(seq 200); do
        [ -S "$work/$1/socket" ] && return
        sleep 0.05
    done
    echo "swtpm does not listen:"
    cat "$work/$1/log"
    exit 1
}

# device TPM ORDER...
device() {
    local name=$1
    shift
    HOST=localhost TPM_SOCKET="$work/$name/socket" timeout 120 node "$here/azure/tpm.js" "$@" >told.json 2>told.log
}

tpm one
tpm two
check "the SDK reads its TPM's keys" shown device one keys
id=$(told .id)
told .endorsement | openssl base64 -d -A >one.ek
told .storage | openssl base64 -d -A >one.srk
same "the SDK's registration id is the one that its documents say" \
    "$id" "$(openssl dgst -sha256 -binary one.ek | base32 -w0 | tr -d = | tr 'A-Z' 'a-z')"
imprint entry new "$id" --product thermo --tpm one.ek >made.txt
check "an entry for a TPM says no key" not grep -q "not shown again" made.txt
name=$(imprint entry show "$id" --json | jq -r '.attestation + " " + .strength')
same "its word is that of a key that can't leave its element" "$name" "tpm element-key"

check "the SDK registers" shown device one register
same "it is assigned" "$(told '"\(.status) \(.hub)"')" "assigned $HOST"
name=$(told .device)
cp told.json first.json
same "it is to come to its hub" "$(state_of "$name")" "active VERIFY"
check "the whole again, with another challenge" shown device one register
check "has the same answer" cmp told.json first.json

# comes: the device comes to its hub with the signature that was told last. For `check`.
comes() {
    mosquitto_pub --cafile "$root" -h "$HOST" -p 8883 -V mqttv311 -i "$name" \
        -u "$HOST/$name/?api-version=2019-10-01" -P "$(told .token)" \
        -t "devices/$name/messages/events/" -q 1 -m '{"t":1}'
}
check "the key in the TPM signs for the hub" shown device one hub "$HOST" "$name"
check "the device comes to its hub with that" comes
same "and is PROVISIONED" "$(state_of "$name")" "active PROVISIONED"

echo "--- no"
# refused_as SENTENCE CODE ORDER...: what the SDK says is an error of its own; ours stands in its log.
refused_as() {
    local sentence=$1 code=$2 status=0
    shift 2
    device "$@" || status=$?
    same "$sentence" "$status" 3
    check "$sentence: the operator reads $code" why "$code" "$id"
}
refused_as "another TPM under the same registration id" tpm-other two register "$id"
check "the second TPM's keys" shown device two keys
told .endorsement | openssl base64 -d -A >two.ek
imprint entry new pinned --product thermo --tpm two.ek --storage-key one.srk >/dev/null
id=pinned refused_as "a storage key that is not the entry's" tpm-other two register pinned
imprint entry disable "$id" >/dev/null
refused_as "a disabled entry" entry-disabled one register
check "the device does not come to its hub either" not comes
imprint entry enable "$id" >/dev/null
check "and is let in again" shown device one register
check "a key that is replaced is replaced in the TPM" imprint entry rotate "$id"
check "the key of before is no use" not comes
check "the device registers" shown device one register
check "and signs with the new one" shown device one hub "$HOST" "$name"
check "and comes to its hub" comes
finish
