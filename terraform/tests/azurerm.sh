# The Azure modules against the provider's own binary, which has what the schema does
# not: its checks of values. Sourced by run.sh; `make terraform-azurerm` builds the
# binary (a quarter of an hour of one processor, once) and names it in AZURERM_BINARY.
# No cloud is asked: validate asks none, and the tests mock it.

section_azurerm() {
  if [ -z "${AZURERM_BINARY:-}" ]; then
    skip "azurerm's own binary" "make terraform-azurerm builds it"
    return
  fi
  [ -x "$AZURERM_BINARY" ] || { fail "azurerm: $AZURERM_BINARY is not there"; return; }
  local z=$work/azurerm dir version=${AZURERM_VERSION:?the version that the binary counts as}
  mkdir -p "$z/mirror"
  cp -r "$root" "$z/terraform"
  # The stubs stand for the other providers.
  cp -r "$work/mirror/." "$z/mirror/"
  dir=$z/mirror/registry.terraform.io/hashicorp/azurerm
  rm -rf "$dir"
  mkdir -p "$dir/$version/$(go env GOOS)_$(go env GOARCH)"
  ln -s "$(readlink -f "$AZURERM_BINARY")" "$dir/$version/$(go env GOOS)_$(go env GOARCH)/terraform-provider-azurerm_v${version}_x5"
  sed "s#$work/mirror#$z/mirror#" "$work/terraform.rc" >"$z/terraform.rc"
  for dir in $(cd "$z/terraform" && grep -rlE 'hashicorp/azurerm' --include=terraform.tf modules live examples | xargs -n1 dirname | sort); do
    check "azurerm $version: init $dir" env TF_CLI_CONFIG_FILE="$z/terraform.rc" terraform -chdir="$z/terraform/$dir" init -backend=false
    check "azurerm $version: validate $dir" env TF_CLI_CONFIG_FILE="$z/terraform.rc" terraform -chdir="$z/terraform/$dir" validate
  done
  mkdir "$z/wrong"
  cat >"$z/wrong/main.tf" <<'HCL'
resource "azurerm_public_ip" "this" {
  name                = "x"
  location            = "westeurope"
  resource_group_name = "rg"
  allocation_method   = "Sometimes"
}
HCL
  env TF_CLI_CONFIG_FILE="$z/terraform.rc" terraform -chdir="$z/wrong" init >/dev/null 2>&1
  refuse "azurerm $version: a value that the schema cannot refuse is refused" 'expected allocation_method to be one of' env TF_CLI_CONFIG_FILE="$z/terraform.rc" terraform -chdir="$z/wrong" validate
  check "azurerm $version: init of the unit tests" env TF_CLI_CONFIG_FILE="$z/terraform.rc" terraform -chdir="$z/terraform/tests" init
  env TF_CLI_CONFIG_FILE="$z/terraform.rc" terraform -chdir="$z/terraform/tests" test -filter=azure.tftest.hcl >"$work/units" 2>&1
  unit_results "azurerm $version"
}
