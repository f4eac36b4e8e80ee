#!/usr/bin/env bash
# A rude network: `serve --hostile` loses replies after they were committed, doubles, delays and
# answers 503. A client that only repeats its question ends with one certificate.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
needs curl openssl jq

DEVICES=30
init
serve --hostile
apply <<'TOML'
[[product]]
name = "thermo"
TOML
check "the server says that it is hostile" grep -qi hostile "$work/serve.log"

mapfile -t tokens < <(token --count "$DEVICES")
same "there is a token for each device" "${#tokens[@]}" "$DEVICES"
lost=0
refusals=0
answers=0
strange=""
differ=0
# One device: asks until it has been answered five times, and every answer must be the same.
for at in $(seq "$DEVICES"); do
    key "$work/d.key"
    csr "$work/d.key" "$work/d.csr"
    answered=0
    for _ in $(seq 100); do
        post d simpleenroll "$work/d.csr" -u "custom:H-$at:${tokens[at - 1]}"
        case $status in
            200)
                certificate d || strange="$strange unreadable"
                [ "$answered" = 0 ] && cp "$work/d.pem" "$work/d-$at.pem" && cp "$work/d.key" "$work/d-$at.key"
                cmp -s "$work/d.pem" "$work/d-$at.pem" || differ=$((differ + 1))
                answered=$((answered + 1))
                answers=$((answers + 1))
                ;;
            503) refusals=$((refusals + 1)) ;;
            none:*) lost=$((lost + 1)) ;;
            *) strange="$strange $status" ;;
        esac
        [ "$answered" = 5 ] && break
    done
done
echo "      $answers answers, $lost replies lost, $refusals answered 503"
same "every device was answered five times" "$answers" $((DEVICES * 5))
same "no two answers to one device differ" "$differ" 0
same "there was no answer but 200 and 503" "$strange" ""
check "the network was rude indeed" test $((lost + refusals)) -gt 0

members=0
for at in $(seq "$DEVICES"); do
    for _ in $(seq 50); do
        verify "d-$at"
        [ "$status" = 200 ] && members=$((members + 1)) && break
    done
done
same "every device is a member in the end" "$members" "$DEVICES"
same "the fleet has one identity a device" \
    "$(imprint device list --json | jq '[.[] | select(.state == "active")] | length')" "$DEVICES"
finish
