# The flows of fleet provisioning, for any SDK: `device ORDER...` runs it, see client.py.
#
# shellcheck shell=bash
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
needs openssl jq

init
serve
cat >"$work/t1.json" <<'JSON'
{
  "Parameters": {"SerialNumber": {"Type": "String"}, "Region": {"Type": "String", "Default": "de"},
                 "AWS::IoT::Certificate::Id": {"Type": "String"}},
  "Mappings": {"Hosts": {"de": {"url": "mqtts://de.example"}, "us": {"url": "mqtts://us.example"}}},
  "Resources": {
    "thing": {"Type": "AWS::IoT::Thing", "Properties": {
      "ThingName": {"Fn::Join": ["-", ["dev", {"Ref": "SerialNumber"}]]},
      "AttributePayload": {"serial": {"Ref": "SerialNumber"}}}},
    "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
      "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
    "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "devices"}}},
  "DeviceConfiguration": {"url": {"Fn::FindInMap": ["Hosts", {"Ref": "Region"}, "url"]}}
}
JSON
apply <<TOML
[[product]]
name = "thermo"

[[policy]]
name = "devices"

[[template]]
name = "t1"
product = "thermo"
body = '''
$(cat "$work/t1.json")'''
TOML
imprint claim new --product thermo --name line-1 --out "$work/claim" >/dev/null
imprint claim new --product thermo --name line-2 --out "$work/other" >/dev/null
here=$(cd "$(dirname "$0")" && pwd)
cd "$work"
export HOST_PORT=$mqtts ROOT=$root

# as NAME ORDER...: a device with the certificate NAME.pem; what came of it is in $work/told.json.
as() {
    local name=$1
    shift
    CERT=$name.pem KEY=$name.key timeout 60 "${device[@]}" "$@" >told.json 2>told.log
}
by_claim() { as claim/claim-line-1 "$@"; }
told() { jq -r "$1" told.json; }
shown() { # shown COMMAND...: for `check`
    "$@" && return 0
    local status=$?
    cat told.json told.log
    return "$status"
}
# rejected SENTENCE STATUS ERROR CODE ORDER...: by the claim, in the vendor's words and ours.
rejected() {
    local sentence=$1 want="$2 $3 $4" status=0
    shift 4
    by_claim "$@" || status=$?
    same "$sentence" "$status $(told '"\(.statusCode) \(.errorCode) \(.errorMessage | capture("\\[(?<code>[^]]+)\\]").code)"')" "3 $want"
}
state_of() { imprint device show "$1" --json | jq -r '"\(.state) \(.step)"'; }

flows() { # flows NAME VERSION
    local name=$1 version=$2
    echo "--- MQTT $version: the device's own key"
    key own.key
    openssl req -new -key own.key -subj /CN=any -out own.csr
    check "a certificate for it, and a thing" shown by_claim provision "$version" t1 own.csr "SerialNumber=$name-csr" Region=us
    same "the thing's name is the template's" "$(told .thingName)" "dev-$name-csr"
    same "and so is what the device is told" "$(told .deviceConfiguration.url)" mqtts://us.example
    told .certificatePem >own.pem
    cp told.json first.json
    same "the certificate's id is its SHA-256" "$(told .certificateId)" \
        "$(openssl x509 -in own.pem -outform DER | sha256sum | cut -d' ' -f1)"
    check "the whole again, as after a power cut" shown by_claim provision "$version" t1 own.csr "SerialNumber=$name-csr" Region=us
    check "has the same answers" cmp told.json first.json
    same "the device is not PROVISIONED yet" "$(state_of "dev-$name-csr")" "active VERIFY"
    check "it connects with its certificate" shown as own connect "$version"
    same "and stays" "$(told .connected)" true
    same "and is PROVISIONED" "$(state_of "dev-$name-csr")" "active PROVISIONED"

    echo "--- MQTT $version: a key from the server, the product's own template"
    check "key, certificate and thing" shown by_claim provision "$version" thermo "SerialNumber=$name-keys"
    same "the thing has the device's name" "$(told .thingName)" "thermo-$name-keys"
    told .certificatePem >keys.pem
    told .privateKey >keys.key
    check "it connects with them" shown as keys connect "$version"
    same "and is PROVISIONED" "$(state_of "thermo-$name-keys")" "active PROVISIONED"

    echo "--- MQTT $version: no"
    rejected "no such template" 400 InvalidTemplate template-unknown provision "$version" nowhere own.csr SerialNumber=x
    rejected "a token that is none" 400 InvalidCertificateOwnershipToken ownership-invalid register "$version" t1 nonsense SerialNumber=x
    rejected "a token for another thing" 400 InvalidCertificateOwnershipToken ownership-used \
        register "$version" t1 "$(jq -r .token first.json)" "SerialNumber=$name-other"
    rejected "a parameter that is missing" 400 InvalidParameters hardware-missing provision "$version" t1 own.csr
    rejected "a value that no map has" 400 InvalidParameters parameters-invalid provision "$version" t1 own.csr SerialNumber=x Region=fr
    openssl req -new -key own.key -subj /CN=any | tr A-F G-L >bad.csr
    rejected "a request that is broken" 400 InvalidPayload csr-unreadable provision "$version" t1 bad.csr SerialNumber=x
    key pending.key
    rejected "a device that is registered already" 403 AccessDenied device-exists \
        provision "$version" t1 <(openssl req -new -key pending.key -subj /CN=any) "SerialNumber=$name-csr"
    check "a stranger does not come in" not as stranger connect "$version"
}
key stranger.key
openssl req -x509 -new -key stranger.key -subj /CN=stranger -days 1 -out stranger.pem
