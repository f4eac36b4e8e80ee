#!/usr/bin/env bash
# AWS's device SDK for Python, unmodified: V1 over MQTT 3.1.1, V2 over MQTT 5.
python3 -c 'import awsiot' 2>/dev/null || { echo "not installed: awsiotsdk"; exit 77; }
# shellcheck source=aws/flows.bash
. "$(dirname "$0")/aws/flows.bash"
device=(python3 "$here/aws/client.py")
flows py3 311
flows py5 5

echo "--- a claim that is revoked"
check "the operator revokes it" imprint claim revoke line-1 --reason drill
check "MQTT 5 says why" not by_claim connect 5
check "in the catalogue's words" grep -q 'NOT_AUTHORIZED: The claim, or this certificate of it, has been revoked' told.json
check "MQTT 3.1.1 is refused" not by_claim connect 311
check "another claim goes on" as other/claim-line-2 connect 311
check "devices that it has provisioned go on" shown as keys connect 5
finish
