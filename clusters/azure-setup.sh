#!/usr/bin/env bash
# What azure.yaml stands on, made once: bash clusters/azure-setup.sh SUBSCRIPTION ACCOUNT ADDRESS
# SUBSCRIPTION: its id; ACCOUNT: a name for a storage account that nobody has yet, 3 to 24 small letters and digits;
# ADDRESS: yours on the internet, which alone may reach the head's SSH: curl -s https://ifconfig.me
# Run again, it leaves what is there, and lets ADDRESS in instead of the one before. Then azure.yaml lies in this folder.
set -euo pipefail

subscription=${1:?the id of the subscription is missing}
account=${2:?the name of the storage account is missing}
address=${3:?your address is missing}
group=imer-ray
location=eastus
name=ray-imer-ray-main # what Ray calls what it makes itself; it takes what has that name already

cloud() { az "$@" --subscription "$subscription" --only-show-errors --output none; }

cloud group create --name "$group" --location "$location"

# Nodes reach each other, your address reaches SSH, and nobody else reaches anything: that is Azure's default. Ray puts a
# group of rules at each machine's card that lets everybody reach SSH; what this one stops never gets there.
cloud network nsg create --resource-group "$group" --name imer-ray
cloud network nsg rule create --resource-group "$group" --nsg-name imer-ray --name ssh --priority 1000 \
  --direction Inbound --access Allow --protocol Tcp --source-address-prefixes "$address/32" --destination-port-ranges 22

# A way out, for packages; none in.
cloud network public-ip create --resource-group "$group" --name imer-ray-out --sku Standard
cloud network nat gateway create --resource-group "$group" --name imer-ray --public-ip-addresses imer-ray-out
cloud network vnet show --resource-group "$group" --name "$name-vnet" 2>/dev/null ||
  cloud network vnet create --resource-group "$group" --name "$name-vnet" --address-prefixes 10.30.0.0/20 \
    --subnet-name "$name-subnet" --subnet-prefixes 10.30.0.0/20
cloud network vnet subnet update --resource-group "$group" --vnet-name "$name-vnet" --name "$name-subnet" \
  --nat-gateway imer-ray --network-security-group imer-ray

cloud storage account create --resource-group "$group" --name "$account" --location "$location" --hns true \
  --allow-blob-public-access false --min-tls-version TLS1_2
cloud storage container create --account-name "$account" --name studies --auth-mode login

# Who the nodes are: may read and write that storage, and (Ray adds it) start and delete machines in this group.
cloud identity create --resource-group "$group" --name imer-ray
cloud role assignment create --role "Storage Blob Data Contributor" --assignee-principal-type ServicePrincipal \
  --assignee-object-id "$(az identity show --subscription "$subscription" --resource-group "$group" --name imer-ray \
    --query principalId --output tsv)" \
  --scope "/subscriptions/$subscription/resourceGroups/$group/providers/Microsoft.Storage/storageAccounts/$account"

sed "s/my-subscription/$subscription/" "$(dirname "${BASH_SOURCE[0]}")/azure.yaml" >azure.yaml
echo "wrote azure.yaml; studies go to abfs://$account.blob.core.windows.net/studies"
