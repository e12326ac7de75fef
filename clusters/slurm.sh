#!/usr/bin/env bash
# A search on Slurm. From the root of a checkout that all nodes see, with its .venv or an active environment:
#   sbatch --nodes=4 --gpus-per-node=1 clusters/slurm.sh study.name=demo study.num_trials=500 study.slots=32
# Options of sbatch before the script go before what follows here; settings of the search come after it.
#SBATCH --job-name=imer-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
set -euo pipefail

# On each node: Ray's head or one of its workers, and on the head the search as well.
# shellcheck disable=SC2329 # srun calls it
on_node() {
  set -euo pipefail
  local temp start device ray log="$JOB_FOLDER/node-$SLURM_NODEID.log"
  # Ray takes every Ray that it sees on a node for its own, and ends it afterwards: let it see this job's processes only.
  if [[ ${1:-} != --alone ]]; then
    local alone=(unshare --user --map-current-user --pid --fork --kill-child --mount-proc)
    if "${alone[@]}" true 2>/dev/null; then
      exec "${alone[@]}" bash -c 'on_node --alone "$@"' on_node "$@"
    fi
  else
    shift
  fi
  temp=$(mktemp -d /tmp/imer-ray.XXXXXX) # for sockets, which need a short path; Ray opens its own folder to everybody
  # shellcheck disable=SC2064 # it is known now
  trap "rm -rf '$temp'" EXIT
  start=(
    --address="$RAY_ADDRESS" --min-nodes="$SLURM_JOB_NUM_NODES" --temp-dir="$temp/r" --disable-usage-stats
    --num-cpus="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}"
    --resources='{"trial_slot": 64}' --object-store-memory=$((200 * 1024 * 1024))
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=$((RAY_PORT + 1))
  )
  # Worker groups would go by the host's name, which may stand for a loopback.
  if [[ $SLURM_NODEID == 0 ]]; then
    device=$(ip -o -4 addr show to "$RAY_HOST" | cut -d' ' -f2) || true
  else
    device=$(ip -o -4 route get "$RAY_HOST" | sed 's/.* dev \([^ ]*\).*/\1/') || true
  fi
  [[ -z $device ]] || export GLOO_SOCKET_IFNAME=$device NCCL_SOCKET_IFNAME=$device
  if [[ $SLURM_NODEID == 0 ]]; then
    start+=(--include-dashboard=false --no-monitor --ray-client-server-port=$((RAY_PORT + 2)))
    # Without the list of all processes that `ray stop` ends.
    ray symmetric-run "${start[@]}" -- bash -c 'search "$@"' search "$@" |& grep -v --line-buffered 'scripts\.py:'
  else
    ray symmetric-run "${start[@]}" -- true >"$log" 2>&1 &
    ray=$!
    while kill -0 "$ray" 2>/dev/null && [[ ! -e $JOB_FOLDER/status ]]; do sleep 1; done
    pkill -TERM -P "$ray" || true # by itself it would leave a minute after the head
    wait "$ray" || true
    [[ -e $JOB_FOLDER/status ]] || cat "$log" >&2
  fi
}

# On the head, when all nodes are there.
# shellcheck disable=SC2329 # ray calls it
search() {
  local status=0
  python -m imer_ray.search "$@" &
  local search=$!
  while kill -0 "$search" 2>/dev/null && [[ ! -e $JOB_FOLDER/stop ]]; do sleep 1; done
  kill -TERM "$search" 2>/dev/null || true
  wait "$search" || status=$?
  echo "$status" >"$JOB_FOLDER/status"
  return "$status"
}

cd "${SLURM_SUBMIT_DIR:-.}"
[[ ! -d .venv/bin ]] || export PATH="$PWD/.venv/bin:$PATH"

# What the nodes must know, in a folder of the job's own that they all see. The token keeps everybody else out of its Ray.
mkdir -p runs
JOB_FOLDER=$(mktemp -d "$PWD/runs/.slurm-$SLURM_JOB_ID.XXXXXX")
trap 'rm -rf "$JOB_FOLDER"' EXIT
(umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$JOB_FOLDER/token")
export JOB_FOLDER PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$JOB_FOLDER/token"

# This script runs on the first node. Others reach it at the address that its name stands for, unless that is a loopback.
mine=" $(hostname -I) "
RAY_HOST=${mine%% *}
for address in $(getent ahostsv4 "${SLURMD_NODENAME:-$(hostname)}" | cut -d' ' -f1) $mine; do
  [[ $address != 127.* && $mine == *" $address "* ]] && RAY_HOST=$address && break
done
RAY_PORT=$((20000 + SLURM_JOB_ID % 4000 * 3)) # another job's Ray on the same node has other ports
export RAY_HOST RAY_PORT RAY_ADDRESS="$RAY_HOST:$RAY_PORT" RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
export -f on_node search

# Before the time is up the search ends whole, and the job queues again; whoever else ends it decides that himself.
is_late=
trap 'is_late=1; touch "$JOB_FOLDER/stop"' USR1
trap 'touch "$JOB_FOLDER/stop"' TERM
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=0 \
  --cpus-per-task="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --mpi=none bash -c 'on_node "$@"' on_node "$@" &
step=$!
while kill -0 "$step" 2>/dev/null; do
  wait "$step" || true
done
status=$(cat "$JOB_FOLDER/status" 2>/dev/null || echo 1)
if [[ $is_late && ($status == 130 || $status == 143) ]]; then # 143: it had only begun to start
  echo "the time is up; the job $SLURM_JOB_ID queues again and goes on from here"
  rm -rf "$JOB_FOLDER"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
