#!/usr/bin/env bash
# Ray on machines of your own, one after the other, in the checkout on each:
#   bash clusters/lab.sh head             on the first, which prints what to type on the others
#   bash clusters/lab.sh 10.0.0.1:6379    on the others: the first one's address
# What stands behind that goes to ray start: --num-cpus=4, --num-gpus=0, --node-ip-address=10.0.0.1 of several.
set -euo pipefail

where=${1:?say head, or the address of the head}
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ! -d .venv/bin ]] || export PATH="$PWD/.venv/bin:$PATH"

export RAY_AUTH_MODE=token
token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
common=(--object-store-memory=$((200 * 1024 * 1024)) --disable-usage-stats "$@")
if [[ $where == head ]]; then
  [[ -s $token ]] || (umask 077 && ray get-auth-token --generate >/dev/null)
  chmod 600 "$token"
  # Trials wait here, beside the study, and hold no CPU; stages go to all machines.
  ray start --head --port=6379 --dashboard-host=127.0.0.1 --resources='{"trial_slot": 16}' "${common[@]}"
  address=$(hostname -I | cut -d' ' -f1):6379
  echo
  echo "on the others, with this machine's $token: bash clusters/lab.sh $address"
  echo "then here: export RAY_ADDRESS=$address RAY_AUTH_MODE=token"
else
  [[ -s $token ]] || { echo "there is no $token here: copy it from the first machine" >&2 && exit 2; }
  ray start --address="$where" "${common[@]}"
fi
