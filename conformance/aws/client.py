"""A device as the documentation of AWS's device SDK for Python has it: V1 over MQTT 3.1.1, V2 over MQTT 5.

client.py connect VERSION                      connects, and is still there a second later
client.py provision VERSION TEMPLATE [CSR] NAME=VALUE...
                                               a certificate for CSR, or with a key, then RegisterThing
client.py register VERSION TEMPLATE TOKEN NAME=VALUE...

What came of it is one JSON object on stdout; exit code 3 for a rejection. Where, and as whom: HOST_PORT,
ROOT, CERT, KEY in the environment.
"""

import json
import os
import sys
import threading
import time

from awscrt import mqtt, mqtt_request_response as rr
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder, mqtt_connection_builder

PATIENCE = 20


class Rejected(Exception):
    """The answer on the rejected topic."""

    def __init__(self, error):
        super().__init__(error.error_message)
        self.error = error


def knobs(client_id):
    return dict(
        endpoint="localhost",
        port=int(os.environ["HOST_PORT"].rsplit(":", 1)[1]),
        cert_filepath=os.environ["CERT"],
        pri_key_filepath=os.environ["KEY"],
        ca_filepath=os.environ["ROOT"],
        client_id=client_id,
    )


class V1:
    """MQTT 3.1.1: subscribe, publish, and wait for either answer."""

    def __init__(self):
        self.broken = threading.Event()
        self.connection = mqtt_connection_builder.mtls_from_path(
            clean_session=False,
            keep_alive_secs=30,
            on_connection_interrupted=lambda **_: self.broken.set(),
            **knobs("claim"),
        )
        self.connection.connect().result(PATIENCE)
        self.client = iotidentity.IotIdentityClient(self.connection)

    def ask(self, operation, request, subscription):
        came, answer = threading.Event(), {}

        def accepted(response):
            answer["yes"] = response
            came.set()

        def rejected(error):
            answer["no"] = error
            came.set()

        qos = mqtt.QoS.AT_LEAST_ONCE
        for outcome, callback in (("accepted", accepted), ("rejected", rejected)):
            subscribe = getattr(self.client, f"subscribe_to_{operation}_{outcome}")
            subscribe(subscription, qos, callback)[0].result(PATIENCE)
        getattr(self.client, f"publish_{operation}")(request, qos).result(PATIENCE)
        if not came.wait(PATIENCE):
            raise TimeoutError(operation)
        if "no" in answer:
            raise Rejected(answer["no"])
        return answer["yes"]

    def create(self, csr):
        if csr is None:
            request = iotidentity.CreateKeysAndCertificateRequest()
            subscription = iotidentity.CreateKeysAndCertificateSubscriptionRequest()
            return self.ask("create_keys_and_certificate", request, subscription)
        request = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=csr)
        subscription = iotidentity.CreateCertificateFromCsrSubscriptionRequest()
        return self.ask("create_certificate_from_csr", request, subscription)

    def register(self, template, token, parameters):
        request = iotidentity.RegisterThingRequest(
            template_name=template, certificate_ownership_token=token, parameters=parameters
        )
        subscription = iotidentity.RegisterThingSubscriptionRequest(template_name=template)
        return self.ask("register_thing", request, subscription)

    def close(self):
        self.connection.disconnect().result(PATIENCE)


class V2:
    """MQTT 5: one call, one answer."""

    def __init__(self):
        self.broken = threading.Event()
        connected, refused = threading.Event(), []

        def failure(data):
            refused.append(data)
            connected.set()

        self.connection = mqtt5_client_builder.mtls_from_path(
            on_lifecycle_connection_success=lambda _: connected.set(),
            on_lifecycle_connection_failure=failure,
            on_lifecycle_disconnection=lambda _: self.broken.set(),
            **knobs("claim"),
        )
        self.connection.start()
        if not connected.wait(PATIENCE):
            raise TimeoutError("connect")
        if refused:
            packet = refused[0].connack_packet
            self.connection.stop()
            reason = f"{packet.reason_code.name}: {packet.reason_string}" if packet else refused[0].exception
            raise ConnectionError(reason)
        self.client = iotidentity.IotIdentityClientV2(
            self.connection,
            rr.ClientOptions(
                max_request_response_subscriptions=4,
                max_streaming_subscriptions=0,
                operation_timeout_in_seconds=PATIENCE,
            ),
        )

    def ask(self, future):
        try:
            return future.result(PATIENCE)
        except V2ServiceException as error:
            if error.modeled_error is None:
                raise
            raise Rejected(error.modeled_error) from error

    def create(self, csr):
        if csr is None:
            return self.ask(self.client.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()))
        request = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=csr)
        return self.ask(self.client.create_certificate_from_csr(request))

    def register(self, template, token, parameters):
        request = iotidentity.RegisterThingRequest(
            template_name=template, certificate_ownership_token=token, parameters=parameters
        )
        return self.ask(self.client.register_thing(request))

    def close(self):
        self.connection.stop()


def main(operation, version, *rest):
    device = {"311": V1, "5": V2}[version]()
    if operation == "connect":
        time.sleep(1)
        device.close()
        return {"connected": not device.broken.is_set()}
    template, *rest = rest
    parameters = dict(pair.split("=", 1) for pair in rest if "=" in pair)
    given = [word for word in rest if "=" not in word]
    if operation == "register":
        created, token = None, given[0]
    else:
        with_csr = open(given[0], encoding="ascii").read() if given else None
        created = device.create(with_csr)
        token = created.certificate_ownership_token
    registered = device.register(template, token, parameters)
    device.close()
    told = {"thingName": registered.thing_name, "deviceConfiguration": registered.device_configuration}
    if created:
        told["token"] = token
        told["certificateId"] = created.certificate_id
        told["certificatePem"] = created.certificate_pem
        told["privateKey"] = getattr(created, "private_key", None)
    return told


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except Rejected as rejection:
        error = rejection.error
        print(json.dumps({"statusCode": error.status_code, "errorCode": error.error_code, "errorMessage": error.error_message}))
        sys.stdout.flush()
        os._exit(3)
    except Exception as error:
        print(json.dumps({"failed": f"{type(error).__name__}: {error}"}))
        sys.stdout.flush()
        os._exit(4)
