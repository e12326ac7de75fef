#!/usr/bin/env bash
# A search on a machine whose disk is not kept: bash clusters/search-and-keep.sh BUCKET study.name=NAME SETTING=...
# BUCKET is s3://bucket/folder, gs://bucket or abfs://account.blob.core.windows.net/container. The study is taken from
# BUCKET/NAME first, if it is there, copied to it every five minutes (KEEP_SECONDS), and at the end; its artefacts go to
# BUCKET/stages as they are made.
set -euo pipefail

bucket=${1%/}
shift
name=demo
for setting in "$@"; do
  [[ $setting == study.name=* ]] && name=${setting#study.name=}
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy() { # only what differs; artefacts are in the bucket already
  case $bucket in
  s3://*) aws s3 sync --only-show-errors "$1" "$2" ;;
  gs://*) gcloud storage rsync --recursive --no-user-output-enabled "$1" "$2" ;;
  abfs://*) azcopy sync "${1/#abfs:/https:}" "${2/#abfs:/https:}" ;;
  *) echo "$bucket is no bucket: give s3://..., gs://... or abfs://..." >&2 && return 2 ;;
  esac
}

is_there() { # something of the study; where the bucket cannot be read, nothing is begun that would replace it
  case $bucket in
  gs://*)
    gcloud storage ls "$bucket" >/dev/null || exit 2
    gcloud storage ls "$bucket/$name/" >/dev/null 2>&1
    ;;
  abfs://*)
    azcopy list "${bucket/#abfs:/https:}" >/dev/null || exit 2
    azcopy list "${bucket/#abfs:/https:}/$name" 2>/dev/null | grep -q "Content Length"
    ;;
  esac # aws copies nothing where there is nothing
}

export AZCOPY_AUTO_LOGIN_TYPE=MSI # the machine's own identity
mkdir -p "runs/$name"
if is_there; then copy "$bucket/$name" "runs/$name"; fi
python -m imer_ray.search "$@" "study.stages=$bucket/stages" &
search=$!
trap 'kill -TERM "$search" 2>/dev/null' TERM INT # the search ends whole, and is copied
copied=$SECONDS
while kill -0 "$search" 2>/dev/null; do
  sleep 1
  if ((SECONDS - copied >= ${KEEP_SECONDS:-300})); then
    copy "runs/$name" "$bucket/$name" || echo "not copied to $bucket/$name; it is tried again" >&2
    copied=$SECONDS
  fi
done
status=0
wait "$search" || status=$?
copy "runs/$name" "$bucket/$name"
exit "$status"
