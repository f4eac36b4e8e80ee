"""Lints what Imprint signs with pkilint, in the form in which its authors ship it.

Every certificate comes out of the product by its own door: devices enroll over EST, authorities and
servers come from `imprint init`, CRLs from the http listener. Run by lint.sh.
"""

import argparse
import base64
import contextlib
import datetime
import http.client
import io
import json
import os
import pathlib
import random
import secrets
import ssl
import subprocess
import sys
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID
from pkilint.bin import lint_crl, lint_pkix_cert, lint_pkix_signer_signee_cert_chain

# The canonical texts of hardware: what varies in a certificate varies with these.
HARDWARE = [
    lambda: f"stm32:{secrets.token_hex(12)}",
    lambda: f"esp-mac:{random_mac()}",
    lambda: f"custom:SN{secrets.token_urlsafe(random.randrange(3, 40))}9",
    lambda: f"custom:SN.{random.randrange(10**9)}",
]


REASONS = ["unspecified", "key-compromise", "superseded", "cessation-of-operation", "privilege-withdrawn"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["devices", "crls", "authorities", "control"])
    for name in ["imprint", "dir", "work", "https", "http", "root", "product"]:
        parser.add_argument(f"--{name}")
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    seed = int(os.environ.get("IMPRINT_SEED") or secrets.randbits(32))
    random.seed(seed)
    # `cryptography` reads on after what is not DER, and only warns.
    warnings.simplefilter("error", UserWarning)
    print(f"IMPRINT_SEED={seed} repeats all but the keys")
    globals()[arguments.what](arguments)
    if faults:
        sys.exit(f"{len(faults)} findings:\n" + "\n".join(faults[:20]))


# What the linters found, as text.
faults = []


def lint(program, files, *options):
    """Runs one of pkilint's programs on files, and keeps what it finds."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        findings = program.main(["lint", "-s", "WARNING", *options, *files])
    if findings or said.getvalue().strip():
        faults.append(f"{' '.join(files)}: {said.getvalue().strip()}")


def lint_certificate(path):
    lint(lint_pkix_cert, [path])


def lint_chain(issuer, subject):
    lint(lint_pkix_signer_signee_cert_chain, [issuer, subject])


def devices(arguments):
    """`count` devices of a product enroll over EST, with every kind of key."""
    work = pathlib.Path(arguments.dir).parent / f"lint-{arguments.product}"
    work.mkdir()
    issuing = authority(arguments, work)
    command = ["token", "new", "--product", arguments.product, "--count", str(arguments.count)]
    tokens = imprint(arguments, *command).split()
    host, port = arguments.https.split(":")
    trusted = ssl.create_default_context(cafile=arguments.root)
    connection = http.client.HTTPSConnection(host, int(port), context=trusted)
    names, kinds = [], {}
    for at, token in enumerate(tokens):
        key, kind = new_key(at)
        kinds[kind] = kinds.get(kind, 0) + 1
        device = certified(connection, arguments.product, token, key)
        path = str(work / f"{at}.pem")
        pathlib.Path(path).write_bytes(device.public_bytes(serialization.Encoding.PEM))
        lint_certificate(path)
        lint_chain(issuing, path)
        common_name = device.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        names.append(len(common_name))
    if len(tokens) != arguments.count:
        faults.append(f"{len(tokens)} tokens instead of {arguments.count}")
    if arguments.product == "wordy" and max(names) != 64:
        faults.append(f"the longest name has {max(names)} octets, and 64 were to be tried")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"      {len(names)} certificates: {counts}; names of {min(names)} to {max(names)} octets")


def certified(connection, product, token, key):
    """The certificate that EST answers with."""
    hardware = random.choice(HARDWARE)()
    signed_with = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, random_text(64))])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, signed_with)
    body = base64.b64encode(request.public_bytes(serialization.Encoding.DER))
    basic = base64.b64encode(f"{hardware}:{token}".encode()).decode()
    headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {basic}"}
    connection.request("POST", f"/.well-known/est/{product}/simpleenroll", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"{hardware}: {answer.status} {answer.getheader('Imprint-Refusal')} {text[:200]}")
    [certificate] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(text))
    return certificate


def new_key(at):
    """Every kind that a product takes. RSA is slow to make, so there is less of it."""
    match at % 20:
        case 0:
            return rsa.generate_private_key(65537, 2048), "RSA 2048"
        case 1 if at % 40 == 1:
            return rsa.generate_private_key(65537, 3072), "RSA 3072"
        case 1 if at % 80 == 21:
            return rsa.generate_private_key(65537, 4096), "RSA 4096"
        case rest if rest < 8:
            return ec.generate_private_key(ec.SECP256R1()), "P-256"
        case rest if rest < 14:
            return ec.generate_private_key(ec.SECP384R1()), "P-384"
        case _:
            return ed25519.Ed25519PrivateKey.generate(), "Ed25519"


def crls(arguments):
    """`count` CRLs, each with a few more revoked devices, for every reason that there is."""
    work = pathlib.Path(arguments.dir).parent / "lint-crls"
    work.mkdir()
    active = [d["id"] for d in json.loads(imprint(arguments, "device", "list", "--json"))]
    random.shuffle(active)
    entries = 0
    for at in range(arguments.count):
        for _ in range(random.randrange(0, 4) if at else 0):
            imprint(arguments, "device", "revoke", active.pop(), "--reason", random.choice(REASONS))
        path = work / f"{at}.crl"
        with urllib.request.urlopen(f"http://{arguments.http}/crl/{crl_name(arguments)}") as answer:
            path.write_bytes(answer.read())
        entries = len(x509.load_der_x509_crl(path.read_bytes()))
        lint(lint_crl, [str(path)], "-t", "CRL", "-p", "PKIX")
    print(f"      {arguments.count} CRLs, the last with {entries} entries")


def crl_name(arguments):
    """The last part of the CRL's address, as a certificate of the fleet has it."""
    found = (pathlib.Path(arguments.dir).parent / "lint-plain").glob("*.pem")
    certificate = x509.load_pem_x509_certificate(next(found).read_bytes())
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return points[0].full_name[0].value.rsplit("/", 1)[-1]


def authorities(arguments):
    """`count` fresh fleets: the root, the issuing authority and the server of each."""
    folder = pathlib.Path(arguments.work) / "fleets"
    folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        chains = list(pool.map(lambda at: fleet(arguments.imprint, folder / str(at)), range(arguments.count)))
    for root, issuing, server in chains:
        for certificate in (root, issuing, server):
            lint_certificate(certificate)
        lint_chain(root, root)
        lint_chain(root, issuing)
        lint_chain(issuing, server)
    print(f"      {len(chains)} fleets, {3 * len(chains)} certificates")


def fleet(program, folder):
    """One fresh fleet under a random name and hosts, and what it shows: three files."""
    # Not `localhost`: pkilint takes a DNS name of one label for an error, which RFC 5280 does not.
    hosts = ["127.0.0.1", *random_hosts()]
    here = "127.0.0.1:0"
    command = [program, "init", "--dir", folder, f"--name={random_text(48)}", "--https", here, "--http", here]
    command += ["--mqtts", here, "--admin", here, *(word for host in hosts for word in ("--host", host))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    server = subprocess.Popen([program, "serve", "--dir", folder], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        ready = dict(word.split("=") for word in server.stdout.readline().split()[1:])
        context = ssl.create_default_context(cafile=folder / "ca/root.pem")
        port = int(ready["https"].rsplit(":", 1)[1])
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
        connection.request("GET", "/.well-known/est/cacerts")
        presented = connection.sock.getpeercert(binary_form=True)
        authorities = cacerts(connection.getresponse().read())
        connection.close()
    finally:
        server.kill()
        server.wait()
    return [write(folder / f"{name}.der", der) for name, der in
            zip(("root", "issuing", "server"), (*authorities, presented))]


def authority(arguments, work):
    """The issuing authority's certificate, as a file."""
    context = ssl.create_default_context(cafile=arguments.root)
    host, port = arguments.https.split(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context)
    connection.request("GET", "/.well-known/est/cacerts")
    return write(work / "issuing.der", cacerts(connection.getresponse().read())[1])


def cacerts(body):
    """The root and the issuing authority, as DER, in this order."""
    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    found.sort(key=lambda certificate: certificate.subject != certificate.issuer)
    root, issuing = (certificate.public_bytes(serialization.Encoding.DER) for certificate in found)
    return root, issuing


def control(arguments):
    """A certificate with a fault, so that silence means something."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 64)])
    start = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2027))
    usage = dict.fromkeys(["digital_signature", "content_commitment", "data_encipherment", "key_agreement",
                           "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"], False)
    builder = builder.add_extension(x509.KeyUsage(key_encipherment=True, **usage), critical=False)
    path = write(pathlib.Path(arguments.work) / "fault.der",
                 builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    lint_certificate(path)
    found, faults[:] = list(faults), []
    if not any("key_usage" in fault for fault in found):
        faults.append("the linter has no objection to keyEncipherment with an EC key")


def write(path, content):
    path.write_bytes(content)
    return str(path)


def imprint(arguments, *command):
    done = subprocess.run([arguments.imprint, *command, "--dir", arguments.dir],
                          check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def random_text(longest):
    """1 to `longest` octets of UTF-8, of which some are not ASCII."""
    letters = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 .-_äöüßéñЖ中✓"
    text = "".join(random.choice(letters) for _ in range(random.choice([1, 3, 12, 30, longest])))
    return text.encode()[:longest].decode(errors="ignore").strip() or "x"


def random_mac():
    # A real maker's prefix: locally administered and broadcast addresses are refused as such.
    return "24:0a:c4:" + secrets.token_bytes(3).hex(":")


def random_hosts():
    label = lambda: "h" + secrets.token_hex(random.randrange(1, 20))
    names = [".".join([label(), "example"]) for _ in range(random.randrange(0, 4))]
    return names + [f"10.{random.randrange(256)}.0.1", "fd00::1"][: random.randrange(0, 3)]


main()
