// Azure's service client for JavaScript, unmodified: what an operator's scripts ask of DPS.
//
//   service.js CALL [ARGUMENT...]     CALL is a method of ProvisioningServiceClient, or `query`
//
// It prints what was answered, or the error, as JSON. Exit codes: 0 answered, 3 refused.
'use strict';
const https = require('https');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

// The client has its port in its code: 443.
https.globalAgent.defaultPort = Number(process.env.ADMIN_PORT);

const client = ProvisioningServiceClient.fromConnectionString(process.env.CONNECTION);

function page(query) {
    return new Promise((resolve, reject) =>
        query.next((error, items, response) => (error ? reject(error) : resolve({ items, headers: response.headers }))));
}

async function query(kind, size, of) {
    const text = { query: `SELECT * FROM ${kind}` };
    const all = {
        enrollments: () => client.createIndividualEnrollmentQuery(text, Number(size)),
        enrollmentGroups: () => client.createEnrollmentGroupQuery(text, Number(size)),
        registrations: () => client.createEnrollmentGroupDeviceRegistrationStateQuery(text, of, Number(size)),
    }[kind]();
    const pages = [];
    while (all.hasMoreResults && pages.length < 50) pages.push((await page(all)).items);
    return { pages };
}

async function main() {
    const [call, ...rest] = process.argv.slice(2);
    if (call === 'query') return query(...rest);
    const read = (text) => (text.startsWith('{') ? JSON.parse(text) : text);
    // With promises, one of its methods never ends; with callbacks, all of them do.
    return new Promise((resolve, reject) =>
        client[call](...rest.map(read), (error, answer) => (error ? reject(error) : resolve(answer || {}))));
}

main().then(
    (answer) => console.log(JSON.stringify(answer)),
    (error) => {
        console.log(JSON.stringify({
            error: error.constructor.name,
            status: error.response && error.response.statusCode,
            body: error.responseBody,
            message: error.message,
        }));
        process.exitCode = 3;
    },
);
