# A server for devices with Azure's SDKs, and the entries by which they register.
#
# One SDK has its port in its code: 8883. So the server listens there, on an address of loopback that
# nobody else has.
#
# shellcheck shell=bash
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
needs openssl jq

# free_address PORT...: an address of loopback on which nobody listens there.
free_address() {
    local address port taken
    for _ in $(seq 50); do
        address=127.0.$((RANDOM % 250 + 1)).$((RANDOM % 250 + 1))
        taken=""
        for port in "$@"; do
            (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null && taken=$port
        done
        [ -n "$taken" ] || { echo "$address"; return; }
    done
    echo "no address of loopback is free" >&2
    return 1
}

# azure_server: starts it; $HOST, $SCOPE and $ROOT are for the clients.
azure_server() {
    HOST=$(free_address 8883)
    init --host "$HOST"
    sed -i "s/^mqtts = .*/mqtts = \"$HOST:8883\"/" "$work/dir/imprint.toml"
    printf 'hub = "%s"\n' "$HOST" >>"$work/dir/imprint.toml"
    serve
    apply <<TOML
[[product]]
name = "thermo"
TOML
    SCOPE=$(imprint status --json | jq -r .id_scope)
    ROOT=$root
    export HOST SCOPE ROOT
}

# key_of ENTRY-ARGUMENT...: makes an entry for a symmetric key and says its first key.
key_of() { imprint entry new --product thermo --json "$@" | jq -r .primary_key; }

# authority NAME [ISSUER]: a maker's CA, as NAME.pem and NAME.key.
authority() {
    local name=$1 issuer=${2:-}
    key "$name.key"
    local sign=(-x509)
    [ -z "$issuer" ] || sign=(-x509 -CA "$issuer.pem" -CAkey "$issuer.key")
    openssl req -new "${sign[@]}" -key "$name.key" -subj "/CN=$name" -days 30 -out "$name.pem" \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
}

# leaf NAME [ISSUER]: a device's certificate, self-signed without an issuer; NAME.pem and NAME.key.
leaf() {
    local name=$1 issuer=${2:-}
    key "$name.key"
    local sign=(-x509)
    [ -z "$issuer" ] || sign=(-x509 -CA "$issuer.pem" -CAkey "$issuer.key")
    openssl req -new "${sign[@]}" -key "$name.key" -subj "/CN=$name" -days 30 -out "$name.pem" \
        -addext basicConstraints=critical,CA:false -addext extendedKeyUsage=clientAuth
    [ -z "$issuer" ] || cat "$issuer.pem" >>"$name.pem"
}

told() { jq -r "$1" told.json; }
shown() { # shown COMMAND...: for `check`
    "$@" && return 0
    local status=$?
    cat told.json told.log
    return "$status"
}
state_of() { imprint device show "$1" --json | jq -r '"\(.state) \(.step)"'; }
# why CODE DEVICE: for `check`.
why() { imprint why "$2" --json | jq -e --arg code "$1" '.code == $code or any(.evidence[]; contains($code))'; }
