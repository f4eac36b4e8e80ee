// Azure's SDK for JavaScript, unmodified, as a device uses it to register. The same orders as client.py, with
// the transport in front:
//
//     client.js mqtt|http register key ID KEY
//     client.js mqtt|http register x509 ID CHAIN PRIVATE
'use strict';
const fs = require('fs');
const https = require('https');
const {ProvisioningDeviceClient} = require('azure-iot-provisioning-device');
const {SymmetricKeySecurityClient} = require('azure-iot-security-symmetric-key');
const {X509Security} = require('azure-iot-security-x509');

const {HOST, SCOPE, HTTPS_PORT} = process.env;

function transport(name) {
    if (name === 'mqtt') {
        const {Mqtt} = require('azure-iot-provisioning-device-mqtt');
        return new Mqtt();
    }
    // The SDK has 443 in its code; what it leaves out, Node.js fills in.
    https.globalAgent.defaultPort = Number(HTTPS_PORT);
    const {Http} = require('azure-iot-provisioning-device-http');
    return new Http();
}

function security(how, id, ...credential) {
    if (how === 'key') {
        return new SymmetricKeySecurityClient(id, credential[0]);
    }
    const [cert, key] = credential.map((path) => fs.readFileSync(path, 'ascii'));
    return new X509Security(id, {cert, key});
}

const [over, , ...rest] = process.argv.slice(2);
const client = ProvisioningDeviceClient.create(HOST, SCOPE, transport(over), security(...rest));
client.setProvisioningPayload({model: 'm1'});
client.register((error, state) => {
    const told = error
        ? {error: error.constructor.name, message: error.message, body: error.responseBody}
        : {
            status: state.status, hub: state.assignedHub, device: state.deviceId, substatus: state.substatus,
            created: state.createdDateTimeUtc, updated: state.lastUpdatedDateTimeUtc, etag: state.etag,
        };
    console.log(JSON.stringify(told));
    process.exit(error ? 3 : 0);
});
