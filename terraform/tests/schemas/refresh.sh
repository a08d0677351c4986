#!/bin/bash
# Writes aws.json and azurerm.json anew, for the resource types that modules/ uses;
# run it when a module uses a new type or a new provider is due. Needs node and npm for
# aws, of which the published bindings are read; azurerm's own binary (AZURERM_BINARY and AZURERM_VERSION,
# as `make terraform-azurerm` makes and names it) and terraform say azurerm's. Without
# the binary azurerm.json stays as it is.
set -euo pipefail
aws=21.22.1 # provider hashicorp/aws 6.25.0

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

types() {
  find "$here/../../modules" -name '*.tf' -exec sed -nE \
    "s/^resource \"(${1}_[a-z0-9_]+)\".*/\1/p; s/^data \"(${1}_[a-z0-9_]+)\".*/data.\1/p" {} + | sort -u
}

write() {
  mv "$here/$1.json.new" "$here/$1.json"
  echo "$1: $(types "$1" | wc -l) types"
}

if [ -n "${AZURERM_BINARY:-}" ]; then
  version=${AZURERM_VERSION:?the version that the binary counts as}
  at=$work/mirror/registry.terraform.io/hashicorp/azurerm/$version/$(go env GOOS)_$(go env GOARCH)
  mkdir -p "$at" "$work/ask"
  ln -s "$(readlink -f "$AZURERM_BINARY")" "$at/terraform-provider-azurerm_v${version}_x5"
  printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' "$work/mirror" >"$work/terraform.rc"
  printf 'terraform {\n  required_providers {\n    azurerm = { source = "hashicorp/azurerm" }\n  }\n}\n' >"$work/ask/main.tf"
  export TF_CLI_CONFIG_FILE=$work/terraform.rc
  terraform -chdir="$work/ask" init >/dev/null
  types azurerm >"$work/types"
  terraform -chdir="$work/ask" providers schema -json | python3 "$here/reduce.py" azurerm "$version" "$work/types" >"$here/azurerm.json.new"
  write azurerm
fi

(cd "$work" && npm pack --silent "@cdktf/provider-aws@$aws" >/dev/null && tar xzf cdktf-provider-aws-*.tgz)
mapfile -t wanted < <(types aws)
node "$here/extract.js" "$work/package" aws "${wanted[@]}" >"$here/aws.json.new"
write aws
