#!/bin/bash
# Writes aws.json and azurerm.json anew, for the resource types that modules/ uses.
# Needs node and npm; run it when a module uses a new type or a new provider is due.
set -euo pipefail
aws=21.22.1      # provider hashicorp/aws 6.25.0
azurerm=14.23.1  # provider hashicorp/azurerm 4.55.0

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for provider in aws azurerm; do
  (cd "$work" && npm pack --silent "@cdktf/provider-$provider@${!provider}" >/dev/null && tar xzf cdktf-provider-$provider-*.tgz && mv package "$provider")
  mapfile -t types < <(
    find "$here/../../modules" -name '*.tf' -exec sed -nE \
      "s/^resource \"(${provider}_[a-z0-9_]+)\".*/\1/p; s/^data \"(${provider}_[a-z0-9_]+)\".*/data.\1/p" {} + | sort -u
  )
  node "$here/extract.js" "$work/$provider" "$provider" "${types[@]}" >"$here/$provider.json.new"
  mv "$here/$provider.json.new" "$here/$provider.json"
  echo "$provider: ${#types[@]} types"
done
