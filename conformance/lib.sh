# What the conformance scripts share: a fresh server, EST by curl, and checks that say what held.
#
# A script sources this file, calls `serve`, states its checks, and ends with `finish`. All that it
# makes lies in $work, and the server is ended by its process id when the script ends.
#
# shellcheck shell=bash
set -euo pipefail

IMPRINT=${IMPRINT:?the path of the imprint binary (cargo xtask conformance sets it)}
work=$(mktemp -d)
server_pid=""
# What a script has started beside the server; it is ended with it.
beside=()
passed=0
failed=0

cleanup() {
    local status=$? process
    stop
    for process in ${beside[@]+"${beside[@]}"}; do
        kill "$process" 2>/dev/null || true
    done
    # A script that died halfway has not said so yet.
    if [ "$status" != 0 ] && [ "$status" != 77 ] && [ -s "$work/serve.log" ]; then
        echo "--- the end of the server's log"
        tail -n 30 "$work/serve.log"
    fi
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# needs PROGRAM...: ends the script as skipped if one is missing.
needs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        echo "not installed: $program"
        exit 77
    done
}

imprint() {
    IMPRINT_DIR="$work/dir" "$IMPRINT" "$@"
}

# init [ARGUMENT...]: a fresh directory, every listener on a free port of loopback.
init() {
    imprint init --host localhost --host 127.0.0.1 --https 127.0.0.1:0 --http 127.0.0.1:0 \
        --mqtts 127.0.0.1:0 --admin 127.0.0.1:0 "$@" >"$work/init.log" 2>&1 || { cat "$work/init.log"; exit 1; }
    root="$work/dir/ca/root.pem"
}

# serve [ARGUMENT...]: starts the server and waits for its `ready` line.
serve() {
    local line
    : >"$work/ready"
    imprint_serve "$@" &
    server_pid=$!
    for _ in $(seq 200); do
        line=$(grep -m1 '^ready ' "$work/ready" || true)
        [ -n "$line" ] && break
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    [ -n "$line" ] || { echo "the server is not ready:"; cat "$work/ready" "$work/serve.log"; exit 1; }
    # These four are what the scripts talk to.
    # shellcheck disable=SC2034
    https=localhost:$(listener "$line" https)
    # shellcheck disable=SC2034
    http=127.0.0.1:$(listener "$line" http)
    # shellcheck disable=SC2034
    mqtts=localhost:$(listener "$line" mqtts)
    est=https://$https/.well-known/est
}

# exec, so that the process id is the server's and not that of a shell around it.
imprint_serve() {
    IMPRINT_DIR="$work/dir" exec "$IMPRINT" serve "$@" >"$work/ready" 2>>"$work/serve.log"
}

# The port of a listener in the `ready` line.
listener() {
    printf '%s\n' "$1" | tr ' ' '\n' | sed -n "s/^$2=.*:\([0-9]*\)\$/\1/p"
}

# Ends the server as an operator would, and waits for it.
stop() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=""
}

# apply: the fleet file on stdin.
apply() {
    cat >"$work/fleet.toml"
    imprint apply "$work/fleet.toml" >"$work/apply.log" 2>&1 || { cat "$work/apply.log"; exit 1; }
}

# token [ARGUMENT...]: one new token for the product thermo, unless the arguments say otherwise.
token() {
    case " $* " in
        *" --product "*) imprint token new "$@" ;;
        *) imprint token new --product thermo "$@" ;;
    esac
}

# key FILE [openssl-genpkey-argument...]: a new key, P-256 unless said otherwise.
key() {
    local file=$1
    shift
    [ $# -gt 0 ] || set -- -algorithm EC -pkeyopt ec_paramgen_curve:P-256
    openssl genpkey -quiet "$@" -out "$file" 2>/dev/null || openssl genpkey "$@" -out "$file" 2>/dev/null
}

# csr KEY FILE [SUBJECT]: a certification request in DER.
csr() {
    openssl req -new -key "$1" -subj "${3:-/CN=ignored}" -outform DER -out "$2"
}

# request NAME URL [curl-argument...]: asks; the answer is in $status and in NAME.headers, NAME.body.
request() {
    local name=$1 url=$2
    shift 2
    rm -f "$work/$name.body"
    status=$(curl -sS --max-time 30 --cacert "$root" -o "$work/$name.body" -D "$work/$name.headers" \
        -w '%{http_code}' "$@" "$url" 2>"$work/$name.error") || status="none: $(cat "$work/$name.error")"
    [ -e "$work/$name.body" ] || : >"$work/$name.body"
}

# post NAME OPERATION CSR [curl-argument...]: an EST request as `curl` and `openssl` make it by hand.
post() {
    local name=$1 operation=$2 der=$3
    shift 3
    openssl base64 -in "$der" -out "$work/$name.b64"
    request "$name" "$est/$operation" -H 'Content-Type: application/pkcs10' \
        --data-binary "@$work/$name.b64" "$@"
}

# certificate NAME: the certificate in the answer NAME, as NAME.pem. Fails if it is not exactly one.
certificate() {
    rm -f "$work/$1.pem"
    openssl base64 -d -in "$work/$1.body" -out "$work/$1.p7" &&
        openssl pkcs7 -inform DER -in "$work/$1.p7" -print_certs -out "$work/$1.pem" &&
        [ "$(grep -c 'BEGIN CERTIFICATE' "$work/$1.pem")" = 1 ]
}

# header NAME HEADER: the header's value in the answer NAME.
header() {
    tr -d '\r' <"$work/$1.headers" | sed -n "s/^$2: *//Ip" | tail -n 1
}

# enroll NAME HARDWARE TOKEN: key, request and certificate of one device, as NAME.key and NAME.pem.
enroll() {
    key "$work/$1.key"
    csr "$work/$1.key" "$work/$1.csr"
    post "$1" simpleenroll "$work/$1.csr" -u "$2:$3"
    if [ "$status" != 200 ] || ! certificate "$1"; then
        echo "$2 cannot enroll: $status $(header "$1" Imprint-Refusal)"
        cat "$work/$1.body"
        exit 1
    fi
}

# verify NAME [curl-argument...]: comes back with the certificate NAME over mutual TLS.
verify() {
    local name=$1
    shift
    request "$name.verify" "https://$https/v1/verify" --cert "$work/$name.pem" --key "$work/$name.key" "$@"
}

# check SENTENCE COMMAND...: holds if the command succeeds; its output is shown if it does not.
check() {
    local sentence=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $sentence"
    else
        failed=$((failed + 1))
        echo "FAIL  $sentence"
        sed 's/^/        /' "$work/check.log"
    fi
}

# not COMMAND...: succeeds if the command fails. For `check`.
not() {
    ! "$@"
}

# same SENTENCE GOT WANT
same() {
    check "$1" equal "$2" "$3"
}

equal() {
    [ "$1" = "$2" ] || { echo "got  $1" && echo "want $2" && false; }
}

# refused SENTENCE NAME STATUS [CODE]: the answer NAME is this refusal, in the form that all have.
refused() {
    local sentence=$1 name=$2 want=$3 code=${4:-}
    local note
    note=$(header "$name" Imprint-Refusal)
    check "$sentence ($want${code:+ $code})" refusal "$want" "$code" "$status" "$note" "$work/$name.body"
}

refusal() {
    local want=$1 code=$2 got=$3 note=$4 body=$5
    echo "status $got, Imprint-Refusal: $note, body: $(head -c 300 "$body")"
    [ "$got" = "$want" ] || return 1
    [[ $note =~ ^[A-Za-z0-9_-]+\;\ step=[A-Z_]+\;\ retry=([0-9]+|never)$ ]] || return 1
    [ -z "$code" ] || [[ $note == "$code;"* ]] || return 1
    # A client that keeps the connection reads a body of a 401 as the next answer.
    case $got in 401 | 202) [ ! -s "$body" ] ;; *) [ -s "$body" ] ;; esac
}

# finish: the last line of a script.
finish() {
    check "the server ended by itself neither early nor late" ends_well
    echo "$passed held, $failed did not"
    [ "$failed" = 0 ]
}

ends_well() {
    [ -n "$server_pid" ] && kill "$server_pid" || return 1
    local status=0
    wait "$server_pid" || status=$?
    server_pid=""
    echo "exit code $status"
    tail -n 5 "$work/serve.log"
    [ "$status" = 0 ]
}
