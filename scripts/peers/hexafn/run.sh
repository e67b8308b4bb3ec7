#!/usr/bin/env bash
# hexaFn as a peer of the peers' rig (scripts/bench peers): its load, its clock, its sink. BENCH names the rig's folder.
#
# Usage: BENCH=…/peers-bench scripts/peers/hexafn/run.sh JOB      (A, B, C, D, DB)
#
# The rig's load sends the same request every time, without a delivery id: so D and DB check the signature, but no
# repetition is found. scripts/bench sends distinct delivery ids.
# shellcheck disable=SC2154  # the names in lower case come from lib/env.sh
: "${BENCH:?the folder of the peers rig}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck disable=SC1091
. "$BENCH/lib/env.sh"
binary="${HEXAFN_BIN:-${CARGO_TARGET_DIR:-$HOME/.cache/hexafn/target}/release/hexafn}"
port=8120
export BENCH_SECRET=bench-secret-of-thirty-two-bytes BENCH_SINK="$SINK"
signature="$(openssl dgst -sha256 -hmac "$BENCH_SECRET" <"$BODY" | sed 's/^.* //')"
version="$("$binary" --version | awk '{ print $2 }')"
serve=("$binary" serve --quiet --config "$here/bench.d/$JOB" --set "server.listen=127.0.0.1:$port" --set "storage.path=$DATA/log")
about=(--version "$version" --size "$binary")
signed=(--header "X-Hub-Signature-256: sha256=$signature")
hook="http://127.0.0.1:$port/hooks/bench"
case "$JOB" in
  A) bench "${about[@]}" --url "$hook" -- "${serve[@]}" ;;
  B) bench "${about[@]}" --sink --drain 3 --url "$hook" -- "${serve[@]}" ;;
  C) bench "${about[@]}" --ready "http://127.0.0.1:$port/health/ready" \
    --fan "--pub http --pub-addr 127.0.0.1:$port/hooks/bench --sub ws --sub-addr 127.0.0.1:$port/ws/topics/bench --pubs ${PUBS:-16}" -- "${serve[@]}" ;;
  D) bench "${about[@]}" "${signed[@]}" --url "$hook" -- "${serve[@]}" ;;
  DB) bench "${about[@]}" "${signed[@]}" --sink --drain 3 --url "$hook" -- "${serve[@]}" ;;
  *) no "no such job" ;;
esac
