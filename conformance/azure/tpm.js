// Azure's SDK for JavaScript with a TPM, unmodified: `azure-iot-security-tpm` over HTTPS. What is ours is the
// wire to swtpm: the SDK's own speaks to a kernel's device, or in the frames of another simulator.
//
//     tpm.js keys              prints the TPM's keys and the registration id that the SDK makes of them
//     tpm.js register [ID]     registers
//     tpm.js hub HOST DEVICE   prints a SAS token for the hub, signed by the key that is in the TPM now
'use strict';
const https = require('https');
const net = require('net');
const {ProvisioningDeviceClient} = require('azure-iot-provisioning-device');
const {Http} = require('azure-iot-provisioning-device-http');
const {TpmSecurityClient} = require('azure-iot-security-tpm');
const tss = require('tss.js');

const {HOST, SCOPE, HTTPS_PORT, TPM_SOCKET} = process.env;
// The SDK has 443 in its code; what it leaves out, Node.js fills in.
https.globalAgent.defaultPort = Number(HTTPS_PORT);

// A command goes out as it is; the answer begins with a tag of two octets and its length in four.
class Wire {
    connect(done) {
        this.socket = net.connect(TPM_SOCKET, done);
        this.socket.on('data', (some) => this.arrived(some));
        this.answer = Buffer.alloc(0);
    }

    dispatchCommand(command, answered) {
        this.answered = answered;
        this.socket.write(command);
    }

    arrived(some) {
        this.answer = Buffer.concat([this.answer, some]);
        if (this.answer.length < 6 || this.answer.length < this.answer.readUInt32BE(2)) {
            return;
        }
        const whole = this.answer;
        this.answer = Buffer.alloc(0);
        this.answered(null, whole);
    }

    close() {
        this.socket.end();
    }
}

function security(id) {
    const tpm = new tss.Tpm(true);
    tpm.device = new Wire();
    return new TpmSecurityClient(id, tpm);
}

function end(error, told) {
    const said = error && {error: error.constructor.name, message: error.message, body: error.responseBody};
    console.log(JSON.stringify(said || told));
    process.exit(error ? 3 : 0);
}

function keys() {
    const client = security();
    client.getEndorsementKey((error, endorsement) => {
        if (error) {
            return end(error);
        }
        client.getStorageRootKey((error, storage) => client.getRegistrationId((_, id) => end(error, {
            id, endorsement: endorsement.toString('base64'), storage: storage.toString('base64'),
        })));
    });
}

function register(id) {
    const client = ProvisioningDeviceClient.create(HOST, SCOPE, new Http(), security(id));
    client.register((error, told) => {
        const state = told && told.registrationState;
        end(error, state && {
            status: state.status, hub: state.assignedHub, device: state.deviceId, substatus: state.substatus,
            created: state.createdDateTimeUtc, updated: state.lastUpdatedDateTimeUtc, etag: state.etag,
        });
    });
}

function hub(host, device) {
    const resource = encodeURIComponent(`${host}/devices/${device}`);
    const until = Math.floor(Date.now() / 1000) + 3600;
    security().signWithIdentity(Buffer.from(`${resource}\n${until}`), (error, signature) => end(error, signature && {
        token: `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature.toString('base64'))}&se=${until}`,
    }));
}

const [order, ...rest] = process.argv.slice(2);
({keys, register, hub})[order](...rest);
