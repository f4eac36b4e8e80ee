// A device as the documentation of AWS's device SDK for JavaScript has it. The same orders as client.py.
'use strict';
const fs = require('fs');
const {iot, iotidentity, mqtt, mqtt5} = require('aws-iot-device-sdk-v2');

const patience = 20;
const {HOST_PORT, ROOT, CERT, KEY} = process.env;
const port = Number(HOST_PORT.split(':').pop());
const options = {maxRequestResponseSubscriptions: 4, maxStreamingSubscriptions: 2, operationTimeoutInSeconds: patience};

async function over311() {
    const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(CERT, KEY);
    config.with_certificate_authority_from_path(undefined, ROOT);
    config.with_clean_session(false).with_client_id('claim').with_endpoint('localhost').with_port(port);
    const connection = new mqtt.MqttClient().new_connection(config.build());
    let broken = false;
    connection.on('interrupt', () => { broken = true; });
    await connection.connect();
    return {
        broken: () => broken,
        client: () => iotidentity.IotIdentityClientv2.newFromMqtt311(connection, options),
        close: () => connection.disconnect(),
    };
}

async function over5() {
    const builder = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath('localhost', CERT, KEY);
    builder.withCertificateAuthorityFromPath(undefined, ROOT);
    builder.withPort(port);
    builder.withConnectProperties({clientId: 'claim', keepAliveIntervalSeconds: 60});
    const client = new mqtt5.Mqtt5Client(builder.build());
    let broken = false;
    client.on('disconnection', () => { broken = true; });
    const connected = new Promise((resolve, reject) => {
        client.on('connectionSuccess', resolve);
        client.on('connectionFailure', (event) => {
            const connack = event.connack;
            client.stop();
            reject(new Error(connack ? `${connack.reasonCode}: ${connack.reasonString}` : String(event.error)));
        });
    });
    client.start();
    await connected;
    return {
        broken: () => broken,
        client: () => iotidentity.IotIdentityClientv2.newFromMqtt5(client, options),
        close: async () => {
            const stopped = new Promise((resolve) => client.once('stopped', resolve));
            client.stop();
            await stopped;
        },
    };
}

async function main(operation, version, ...rest) {
    const device = await {311: over311, 5: over5}[version]();
    if (operation === 'connect') {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const connected = !device.broken();
        await device.close();
        return {connected};
    }
    const templateName = rest.shift();
    const parameters = Object.fromEntries(rest.filter((word) => word.includes('=')).map((word) => word.split('=')));
    const given = rest.filter((word) => !word.includes('='));
    const client = device.client();
    let created = null;
    let certificateOwnershipToken = given[0];
    if (operation === 'provision') {
        created = given.length
            ? await client.createCertificateFromCsr({certificateSigningRequest: fs.readFileSync(given[0], 'ascii')})
            : await client.createKeysAndCertificate({});
        certificateOwnershipToken = created.certificateOwnershipToken;
    }
    const registered = await client.registerThing({templateName, certificateOwnershipToken, parameters});
    await device.close();
    const {thingName, deviceConfiguration} = registered;
    if (!created) return {thingName, deviceConfiguration};
    const {certificateId, certificatePem, privateKey} = created;
    return {thingName, deviceConfiguration, token: certificateOwnershipToken, certificateId, certificatePem, privateKey};
}

main(...process.argv.slice(2)).then(
    (told) => { console.log(JSON.stringify(told)); process.exit(0); },
    (error) => {
        const modeled = error.modeledError;
        console.log(JSON.stringify(modeled || {failed: String(error)}));
        process.exit(modeled ? 3 : 4);
    },
);
