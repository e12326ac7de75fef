#!/usr/bin/env bash
# A cloud tells a spot machine that it will soon be taken away: AWS two minutes ahead, Google Cloud and Azure half a
# minute. This passes it on to Ray, so that stages write their checkpoint and go on elsewhere. It runs on each worker:
#   bash clusters/spot-notice.sh aws 10.0.0.1:6379
# Words: the cloud (aws, gcp or azure), the cluster's address, and where the machine's metadata are, if not where all
# three have them.
set -euo pipefail

cloud=$1 address=$2
metadata=${3:-http://169.254.169.254}

ask() { curl --silent --fail --max-time 5 --noproxy '*' "$@"; }

# The seconds that are left; fails as long as there is no notice.
notice() {
    case $cloud in
    aws)
        local token told time
        token=$(ask --request PUT --header "X-aws-ec2-metadata-token-ttl-seconds: 60" "$metadata/latest/api/token") || return
        told=$(ask --header "X-aws-ec2-metadata-token: $token" "$metadata/latest/meta-data/spot/instance-action") || return
        time=$(sed -n 's/.*"time" *: *"\([^"]*\)".*/\1/p' <<<"$told")
        time=$(date --date="$time" +%s) || return
        echo $((time - $(date +%s)))
        ;;
    gcp)
        [[ $(ask --header "Metadata-Flavor: Google" "$metadata/computeMetadata/v1/instance/preempted") == TRUE ]] || return
        echo 30
        ;;
    azure)
        ask --header "Metadata: true" "$metadata/metadata/scheduledevents?api-version=2020-07-01" |
            grep --quiet '"EventType" *: *"Preempt"' || return
        echo 30
        ;;
    esac
}

while sleep 5; do
    left=$(notice) || continue
    node=$(pgrep --full --list-full raylet/raylet | sed -n 's/.*--node_id=\([0-9a-f]*\).*/\1/p' | head -n 1) || continue
    if ray drain-node --address="$address" --node-id="$node" --reason=DRAIN_NODE_REASON_PREEMPTION \
        --reason-message="$cloud takes the spot machine back" --deadline-remaining-seconds="$((left > 0 ? left : 0))"; then
        exit
    fi
done
