#!/usr/bin/env bash
# What gcp.yaml stands on, made once: bash clusters/gcp-setup.sh PROJECT. What is there already is left as it is.
# Then gcp.yaml lies in this folder, with the project's name in it.
set -euo pipefail

project=${1:?the name of the project is missing}
region=us-central1
worker=imer-ray-worker@$project.iam.gserviceaccount.com
bucket=gs://imer-ray-$project
cloud=(gcloud --quiet --project "$project")

ensure() { # WHERE NAME... : the thing, unless it can be described
  local kind=$1 name=$2
  shift 2
  local words
  read -ra words <<<"$kind"
  "${cloud[@]}" "${words[@]}" describe "$name" "${place[@]}" >/dev/null 2>&1 ||
    "${cloud[@]}" "${words[@]}" create "$name" "${place[@]}" "$@"
}

"${cloud[@]}" services enable compute.googleapis.com iam.googleapis.com iap.googleapis.com \
  cloudresourcemanager.googleapis.com storage.googleapis.com

# A network of its own: nodes reach each other, Google's proxy reaches their SSH, and nobody else reaches anything.
place=()
ensure "compute networks" imer-ray --subnet-mode=custom
place=(--region "$region")
ensure "compute networks subnets" imer-ray --network=imer-ray --range=10.20.0.0/20 --enable-private-ip-google-access
place=()
ensure "compute firewall-rules" imer-ray-inside --network=imer-ray --allow=all --source-ranges=10.20.0.0/20
ensure "compute firewall-rules" imer-ray-proxy --network=imer-ray --allow=tcp:22 --source-ranges=35.235.240.0/20

# A way out, for packages; none in.
place=(--region "$region")
ensure "compute routers" imer-ray --network=imer-ray
place=(--region "$region" --router imer-ray)
ensure "compute routers nats" imer-ray --auto-allocate-nat-external-ips --nat-all-subnet-ip-ranges

place=()
ensure "storage buckets" "$bucket" --location="$region" --uniform-bucket-level-access --public-access-prevention
"${cloud[@]}" iam service-accounts describe "$worker" >/dev/null 2>&1 ||
  "${cloud[@]}" iam service-accounts create imer-ray-worker --display-name="workers of imer-ray"
for role in objectUser legacyBucketReader; do
  "${cloud[@]}" storage buckets add-iam-policy-binding "$bucket" --member="serviceAccount:$worker" \
    --role="roles/storage.$role" >/dev/null
done

sed "s/my-project/$project/g" "$(dirname "${BASH_SOURCE[0]}")/gcp.yaml" >gcp.yaml
echo "wrote gcp.yaml; studies go to $bucket"
