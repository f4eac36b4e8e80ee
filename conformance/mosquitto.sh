#!/usr/bin/env bash
# `mosquitto_pub` and `mosquitto_sub`, as Debian ships them: what a broker's clients see of an endpoint that is no broker.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs curl openssl jq mosquitto_pub mosquitto_sub

init
sed -i 's/^# mqtt_on_https = true/mqtt_on_https = true/' "$work/dir/imprint.toml"
serve
apply <<'TOML'
[[product]]
name = "thermo"
TOML
cd "$work"

# client PROGRAM VERSION NAME ARGUMENT...: with the certificate NAME, or without one if there is none.
client() {
    local program=$1 version=$2 name=$3
    shift 3
    local shown=()
    [ "$name" = none ] || shown=(--cert "$name.pem" --key "$name.key")
    timeout 20 "$program" -V "$version" -h localhost -p "${port:-${mqtts##*:}}" --cafile "$root" "${shown[@]}" \
        -q 1 "$@" >client.log 2>&1
}
step() { imprint device show "thermo-$1" --json | jq -r .step; }
# says STATUS WORDS COMMAND...: the exit code, and what is printed.
says() {
    local want=$1 words=$2 status=0
    shift 2
    "$@" || status=$?
    cat client.log
    echo "exit code $status"
    [ "$status" = "$want" ] && grep -qi "$words" client.log
}

echo "--- verify by connecting"
for version in 311 5; do
    enroll "m$version" "custom:M-$version" "$(token)"
    same "a device that has its certificate stands at VERIFY" "$(step "m-$version")" VERIFY
    # It listens, gets nothing, and goes after a second: exit code 27.
    check "mosquitto_sub connects and subscribes (MQTT $version)" \
        says 27 'Timed out' client mosquitto_sub "$version" "m$version" -t 'a/b' -t '$aws/certificates/#' -W 1 -d
    check "both subscriptions are granted" grep -E 'Subscribed \(mid: [0-9]+\): 1, 1' client.log
    same "and that was VERIFY" "$(step "m-$version")" PROVISIONED
    check "with TLS 1.2 as well" says 27 'Timed out' client mosquitto_sub "$version" "m$version" -t a -W 1 --tls-version tlsv1.2
done

echo "--- no broker"
check "a message to anybody is refused (MQTT 5)" \
    says 0 'Not authorized' client mosquitto_pub 5 m5 -t telemetry -m 1 -d
check "a message to anybody ends the connection (MQTT 3.1.1)" \
    not client mosquitto_pub 311 m311 -t telemetry -m 1
check "a retained message ends it too" not client mosquitto_pub 311 m311 -t telemetry -m 1 -r
check "and so does a message of 200 KB" not client mosquitto_pub 311 m311 -t telemetry -m "$(head -c 100000 /dev/zero | tr '\0' x)"

echo "--- who is not a member"
key stranger.key
openssl req -x509 -new -key stranger.key -subj /CN=stranger -days 1 -out stranger.pem
# The exit code is the reason: 5 in MQTT 3.1.1, 0x87 in MQTT 5.
for row in '311 5' '5 135'; do
    read -r version code <<<"$row"
    check "a stranger's certificate is refused (MQTT $version)" \
        says "$code" 'not authori' client mosquitto_pub "$version" stranger -t a -m 1
    check "no certificate is refused (MQTT $version)" \
        says "$code" 'not authori' client mosquitto_pub "$version" none -t a -m 1
done
sleep 1
check "the journal has it" grep -q CA_NOT_REGISTERED <(imprint journal list --json)
check "a device can be revoked" imprint device revoke thermo-m-5 --reason key-compromise
check "and is refused from then on" says 5 'not authori' client mosquitto_pub 311 m5 -t a -m 1

echo "--- one port"
port=${https##*:}
check "on the https port by ALPN" says 27 'Timed out' client mosquitto_sub 311 m311 -t a -W 1 --tls-alpn mqtt
check "by AWS's name for it" says 27 'Timed out' client mosquitto_sub 311 m311 -t a -W 1 --tls-alpn x-amzn-mqtt-ca
check "where HTTP goes on" curl -sSf --cacert "$root" --cert m311.pem --key m311.key "https://$https/v1/verify"
finish
