#!/usr/bin/env python3
"""Azure's device SDK for Python, unmodified, as a device uses it.

    client.py register key ID KEY            registers with a symmetric key
    client.py register x509 ID CHAIN PRIVATE registers with a certificate
    client.py hub key HUB DEVICE KEY         connects to the hub and sends one message
    client.py hub x509 HUB DEVICE CHAIN PRIVATE

The server is in HOST, its root certificate in ROOT, the id scope in SCOPE. What came of it is printed as
one JSON object. Exit codes: 0 done, 3 refused.
"""

import json
import os
import sys

from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, X509
from azure.iot.device import exceptions

HOST = os.environ["HOST"]
SCOPE = os.environ["SCOPE"]
with open(os.environ["ROOT"], encoding="ascii") as file:
    ROOT = file.read()


def register(how, registration_id, *credential):
    if how == "key":
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            HOST, registration_id, SCOPE, credential[0], server_verification_cert=ROOT
        )
    else:
        client = ProvisioningDeviceClient.create_from_x509_certificate(
            HOST, registration_id, SCOPE, X509(*credential), server_verification_cert=ROOT
        )
    client.provisioning_payload = {"model": "m1"}
    result = client.register()
    state = result.registration_state
    return {
        "status": result.status,
        "hub": state.assigned_hub,
        "device": state.device_id,
        "substatus": state.sub_status,
        "created": str(state.created_date_time),
        "updated": str(state.last_update_date_time),
        "etag": state.etag,
    }


def hub(how, host, device, *credential):
    if how == "key":
        client = IoTHubDeviceClient.create_from_symmetric_key(
            credential[0], host, device, server_verification_cert=ROOT
        )
    else:
        client = IoTHubDeviceClient.create_from_x509_certificate(
            X509(*credential), host, device, server_verification_cert=ROOT
        )
    try:
        client.connect()
        client.send_message('{"t": 1}')
    finally:
        client.shutdown()
    return {"sent": True}


def main(order, *rest):
    try:
        told = {"register": register, "hub": hub}[order](*rest)
    except exceptions.ClientError as error:
        told = {"error": type(error).__name__, "cause": repr(error.__cause__)}
    print(json.dumps(told))
    return 3 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
