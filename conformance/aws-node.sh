#!/usr/bin/env bash
# AWS's device SDK for JavaScript, unmodified, over MQTT 3.1.1 and 5.
node -e 'require("aws-iot-device-sdk-v2")' 2>/dev/null || { echo "not installed: aws-iot-device-sdk-v2"; exit 77; }
# shellcheck source=aws/flows.bash
. "$(dirname "$0")/aws/flows.bash"
device=(node "$here/aws/client.js")
flows js3 311
flows js5 5
finish
