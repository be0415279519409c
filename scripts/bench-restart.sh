#!/usr/bin/env bash
# How long one node with N actors of 200 bytes takes from `kill -9` to ready, and what it holds in memory then.
#
#   scripts/bench-restart.sh PROGRAM memory|rocksdb [N] [FOLDER]
#
# Figures of its runs are in docs/PERFORMANCE.md. Ports 7861 and 7862 of this machine must be free.
set -euo pipefail

program=${1:?the understudy program}
storage=${2:?memory or rocksdb}
count=${3:-1000000}
folder=${4:-$(mktemp -d)}
api=127.0.0.1:7861
node=

mkdir -p "$folder"
trap '[ -z "$node" ] || kill -9 "$node" 2>/dev/null || true; wait; rm -rf "${folder:?}"' EXIT

cat >"$folder/understudy.toml" <<TOML
data_dir = "data"
node = 1
[cluster]
name = "bench"
namespaces = ["default"]
[cluster.storage]
default = "$storage"
[[cluster.nodes]]
id = 1
peer = "127.0.0.1:7862"
api = "$api"
TOML

start() {
    "$program" serve --config "$folder/understudy.toml" >>"$folder/log" 2>&1 &
    node=$!
    until curl -fs -o /dev/null "http://$api/readyz"; do
        kill -0 "$node" || { tail -3 "$folder/log"; exit 1; }
        sleep 0.02
    done
}

held() { awk '/^VmRSS|^VmHWM/ { printf "%s %d MB  ", $1, $2 / 1000 }' "/proc/$node/status"; }

"$program" init --config "$folder/understudy.toml"
start
# 200 bytes each, and an id of 14.
seq -f '%08g' "$count" | awk '{ printf "{\"id\":\"actor-%s\",\"text\":\"", $1
    for (i = 0; i < 8; i++) printf "%s, %s; ", $1, $1 + i
    print "" }' | cut -c1-198 | sed 's/$/"}/' >"$folder/actors.ndjson"
"$program" load "$folder/actors.ndjson" --concurrency 256 --timeout 60s --endpoints "$api" --json
rm "$folder/actors.ndjson"
echo "raw:               $((count * 214 / 1000000)) MB"
echo "after the load:    $(held)"
for _ in 1 2 3; do
    kill -9 "$node"
    wait "$node" 2>/dev/null || true
    du -sm "$folder/data" | awk '{ print "on disk:           " $1 " MB" }'
    begun=$(date +%s%N)
    start
    echo "restart to ready:  $((($(date +%s%N) - begun) / 1000000)) ms  $(held)"
done
curl -fs "http://$api/v1/status"; echo
