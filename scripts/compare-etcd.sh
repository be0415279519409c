#!/usr/bin/env bash
# Three nodes of etcd and three of Understudy on this machine, driven alike and in turns.
#
#   scripts/compare-etcd.sh PROGRAM [FOLDER] [-- options of understudy-compare]
#
# PROGRAM is the understudy binary. Both keep their data in FOLDER, on the same disk. etcd is Debian's
# package `etcd-server`. Figures of its runs are in docs/PERFORMANCE.md.
set -euo pipefail

program=${1:?the understudy program}
shift
folder=$(mktemp -d)
if [ $# -gt 0 ] && [ "$1" != "--" ]; then
    folder=$1
    shift
fi
[ "${1:-}" != "--" ] || shift
command -v etcd >/dev/null || { echo "etcd is missing: apt-get install etcd-server etcd-client" >&2; exit 1; }
cargo build --release --quiet -p understudy-compare
compare=${CARGO_TARGET_DIR:-target}/release/understudy-compare

started=()
cleanup() {
    "$program" dev --stop --data-dir "$folder/understudy" >/dev/null 2>&1 || true
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "${folder:?}"
}
trap cleanup EXIT
mkdir -p "$folder"

members=""
for node in 1 2 3; do members+="e$node=http://127.0.0.1:79${node}0,"; done
etcds=""
for node in 1 2 3; do
    etcd --name "e$node" --data-dir "$folder/etcd$node" --log-level error \
        --listen-client-urls "http://127.0.0.1:79${node}1" --advertise-client-urls "http://127.0.0.1:79${node}1" \
        --listen-peer-urls "http://127.0.0.1:79${node}0" --initial-advertise-peer-urls "http://127.0.0.1:79${node}0" \
        --initial-cluster "${members%,}" --initial-cluster-state new >"$folder/etcd$node.log" 2>&1 &
    started+=($!)
    etcds+="127.0.0.1:79${node}1,"
done
"$program" dev --nodes 3 --port 7951 --data-dir "$folder/understudy" >"$folder/understudy.log" 2>&1 &
started+=($!)

# The leader's endpoint first, then the others.
first() { awk -v leader="$1" 'BEGIN { RS = "," } { sub(/\n/, "") } $0 == leader { a = $0 } $0 != "" && $0 != leader { b = b "," $0 } END { print a b }'; }
export ETCDCTL_API=3
until leader=$(etcdctl --endpoints "${etcds%,}" endpoint status 2>/dev/null | awk -F', ' '$5 == "true" { print $1 }') && [ -n "$leader" ]; do sleep 0.2; done
etcds=$(echo "$etcds" | first "$leader")
until leader=$(curl -fs http://127.0.0.1:7951/v1/status | python3 -c '
import json, sys
page = json.load(sys.stdin)
leader = page["groups"][0]["leader"]
print(next(member["api"] for member in page["members"] if member["node"] == leader))' 2>/dev/null); do sleep 0.2; done
nodes=$(echo "127.0.0.1:7951,127.0.0.1:7952,127.0.0.1:7953," | first "$leader")

etcd --version | head -1
"$compare" --etcd "$etcds" --understudy "$nodes" "$@"
