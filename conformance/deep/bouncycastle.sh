#!/usr/bin/env bash
# BouncyCastle's EST client from Debian's packages, on TLS 1.2 and 1.3: authorities, 401 and Basic,
# enroll, wait for a person, renew. The strictest reader of headers that we know.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
needs java javac openssl

jars=()
for jar in bcpkix bcprov bcutil; do
    [ -r "/usr/share/java/$jar.jar" ] || { echo "not installed: lib$jar-java"; exit 77; }
    jars+=("/usr/share/java/$jar.jar")
done
classpath=$(IFS=:; echo "${jars[*]}:$work")
javac -cp "$classpath" -d "$work" "$(dirname "$0")/Est.java"
client() { java -cp "$classpath" Est "$https" "$1" "$root" "${@:2}"; }

init
serve
apply <<'TOML'
[[product]]
name = "thermo"

[[product]]
name = "slow"
approval = true
TOML
request cacerts "$est/cacerts"
openssl base64 -d -in "$work/cacerts.body" | openssl pkcs7 -inform DER -print_certs -out "$work/chain.pem"

for tls in TLSv1.2 TLSv1.3; do
    name=bc-${tls: -1}
    # RFC 7617 allows no colon in a user name, and BouncyCastle sends none: the id goes without `custom:`.
    check "BouncyCastle enrolls and renews on $tls" client "$tls" "$name" "$(token)" "$work/$name.pem"
    check "openssl verifies what it got" openssl verify -x509_strict -CAfile "$root" -untrusted "$work/chain.pem" "$work/$name.pem"
    same "it is the device's" "$(openssl x509 -in "$work/$name.pem" -noout -subject)" "subject=CN = thermo-$name"
done

mkfifo "$work/approved"
client TLSv1.3 bc-slow "$(token --product slow)" "$work/slow.pem" <"$work/approved" >"$work/slow.log" 2>&1 &
client_pid=$!
exec 3>"$work/approved"
for _ in $(seq 100); do
    grep -q '^waiting' "$work/slow.log" && break
    kill -0 "$client_pid" 2>/dev/null || break
    sleep 0.1
done
check "BouncyCastle understands that it has to wait" grep '^waiting' "$work/slow.log"
check "an operator approves" imprint device approve slow-bc-slow
kill -0 "$client_pid" 2>/dev/null && echo >&3
waited=0
wait "$client_pid" || waited=$?
cat "$work/slow.log"
same "then it enrolls and renews" "$waited" 0
finish
