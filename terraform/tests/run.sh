#!/bin/bash
# Checks everything in terraform/ that can be checked where there is no cloud.
#
#   terraform/tests/run.sh [SECTION…]     sections: see the end of this file
#
# Needs bash, go, terraform >= 1.11, curl, python3. What else is used where it is
# there (and named as skipped where it is not): systemd-analyze, cloud-init, gdnsd
# with dig, shellcheck, openssl, tflint, trivy; for the section apply what apply.sh
# says. NEARSIDE_TEST_INSTALL=1 lets it install the Debian packages among them, and
# NEARSIDE_TEST_APPLY=0 leaves apply, which takes ten minutes, out of a run. All work happens in a
# temporary copy; all servers it starts listen on loopback, or in network namespaces
# of its own, and are stopped at the end.
# The last line is "N passed, M failed, K skipped"; the exit status is 1 if M > 0.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_root=$(dirname "$here")
work=$(mktemp -d)
root=$work/terraform
passed=0 failed=0 skipped=0
pids=()
# shellcheck disable=SC2034 # apply.sh reads them
machines=() net=""

cleanup() {
  [ -z "$net" ] || apply_cleanup
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  rm -rf "$work"
}
trap cleanup EXIT

pass() { passed=$((passed + 1)); echo "ok    $1"; }
fail() { failed=$((failed + 1)); echo "FAIL  $1"; [ -n "${2:-}" ] && sed 's/^/      /' "$2" | tail -40; }
skip() { skipped=$((skipped + 1)); echo "skip  $1: $2"; }
die() { echo "run.sh: $*" >&2; echo "$passed passed, $((failed + 1)) failed, $skipped skipped"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# check NAME COMMAND…: passes if the command does.
check() {
  local name=$1; shift
  if "$@" >"$work/log" 2>&1; then pass "$name"; else fail "$name" "$work/log"; fi
}

# refuse NAME PATTERN COMMAND…: passes if the command fails and says PATTERN.
refuse() {
  local name=$1 pattern=$2; shift 2
  if "$@" >"$work/log" 2>&1; then fail "$name (it was accepted)" "$work/log"; return; fi
  # Terraform wraps its messages; the pattern is written on one line.
  if tr -s ' \n│╷╵' ' ' <"$work/log" | grep -qE -- "$pattern"; then pass "$name"; else fail "$name (another error than /$pattern/)" "$work/log"; fi
}

# status NAME WANTED COMMAND…: passes if the command exits with that status.
status() {
  local name=$1 wanted=$2 got=0; shift 2
  "$@" >"$work/log" 2>&1 || got=$?
  if [ "$got" = "$wanted" ]; then pass "$name"; else fail "$name (exit $got, expected $wanted)" "$work/log"; fi
}

# eventually SECONDS COMMAND…: waits until the command succeeds.
eventually() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$deadline" ] || return 1; sleep 0.1; done
}

has() { grep -qE -- "$2" "$1"; }
hasnt() { ! has "$@"; }

install_debian() {
  [ "${NEARSIDE_TEST_INSTALL:-}" = 1 ] && have apt-get && [ "$(id -u)" = 0 ] || return 0
  local missing=()
  have gdnsd || missing+=(gdnsd)
  have dig || missing+=(bind9-dnsutils)
  have cloud-init || missing+=(cloud-init)
  have shellcheck || missing+=(shellcheck)
  have openssl || missing+=(openssl)
  if [ "${NEARSIDE_TEST_APPLY:-}" != 0 ]; then
    have debootstrap || missing+=(debootstrap)
    have systemd-nspawn || missing+=(systemd-container)
    have ssh-keygen || missing+=(openssh-client)
    have ip || missing+=(iproute2)
  fi
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}"
  { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 ||
    echo "could not install ${missing[*]}; what needs them is skipped"
}

prepare() {
  have terraform || die "terraform >= 1.11 is not on PATH (README.md says how to get it)"
  have go || die "go is not on PATH"
  install_debian
  cp -r "$source_root" "$root"
  (cd "$here/go" && go build -o "$work/stubprovider" ./stubprovider && go build -o "$work/world" ./world) || die "the test programs do not build"

  # Providers come from a directory: the stub under the name and version of the
  # provider whose schema it serves.
  local schema name version dir
  for schema in "$here"/schemas/*.json; do
    [ -e "$schema" ] || continue
    name=$(basename "$schema" .json)
    version=$(sed -n 's/^ "version": "\(.*\)",$/\1/p' "$schema" | head -1)
    dir=$work/mirror/registry.terraform.io/hashicorp/$name/$version/$(go env GOOS)_$(go env GOARCH)
    mkdir -p "$dir"
    cp "$work/stubprovider" "$dir/terraform-provider-${name}_v$version"
  done
  cat >"$work/terraform.rc" <<RC
provider_installation {
  filesystem_mirror {
    path = "$work/mirror"
  }
}
disable_checkpoint = true
RC
  export TF_CLI_CONFIG_FILE=$work/terraform.rc STUB_SCHEMAS=$here/schemas TF_IN_AUTOMATION=1 TF_INPUT=0 TF_CLI_ARGS=-no-color
  unset TF_CLI_ARGS_plan TF_CLI_ARGS_apply TF_WORKSPACE TF_LOG
}

start_world() {
  # start_world DIR ADDR…
  "$work/world" http "$@" >"$1/world.out" 2>"$1/world.err" &
  pids+=($!)
  eventually 10 grep -q ready "$1/world.out" || die "the fake services do not start: $(cat "$1/world.err")"
}

# free_port prints a loopback port nobody listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

modules() { (cd "$root" && find modules live examples -name terraform.tf -printf '%h\n' | sort); }

section_format() {
  check "terraform fmt" terraform -chdir="$root" fmt -check -recursive
  local dir file
  for dir in $(modules); do
    for file in terraform.tf main.tf variables.tf outputs.tf locals.tf; do
      [ -f "$root/$dir/$file" ] || fail "$dir has no $file"
    done
  done
  check "every variable and output has a description, every variable a type" python3 "$here/described.py" "$root"
  check "no count, and providers only in roots" bash -c "
    ! grep -rnE '^\s*count\s*=' '$root'/modules '$root'/live '$root'/examples --include=*.tf &&
    ! grep -rnE '^\s*provider\s+\"' '$root'/modules --include=*.tf"
  check "no two sections have a function of the same name" bash -c "
    ! grep -hoE '^ *[a-z_]+\(\)' '$here'/*.sh | tr -d ' ' | sort | uniq -d | grep ."
  if have shellcheck; then
    check "shellcheck" shellcheck -s bash -S info -e SC1090,SC1091 "$root"/modules/node-config/files/* "$here/run.sh"
  else
    skip shellcheck "it is not installed (Debian: shellcheck)"
  fi
  # The roots read a fleet's file where they stand; here it is the example.
  mkdir "$work/lint"
  cp -r "$root" "$work/lint/"
  cp "$root/live/fleet.example.json" "$work/lint/terraform/live/fleet.json"
  rm -rf "$work/lint/terraform/tests"
  if have tflint; then
    check "tflint" tflint --chdir="$work/lint/terraform" --config="$work/lint/terraform/.tflint.hcl" --recursive --minimum-failure-severity=notice
    sed -i 's/^variable "ttl" {/variable "tll" {\n  type = number\n}\n&/' "$work/lint/terraform/modules/azure/geo-dns/variables.tf"
    refuse "tflint refuses a variable that nothing uses" 'variable "tll" is declared but not used' \
      tflint --chdir="$work/lint/terraform" --config="$work/lint/terraform/.tflint.hcl" --recursive --minimum-failure-severity=notice
  else
    skip tflint "it is not installed (make terraform-test installs it)"
  fi
  if have trivy; then
    check "trivy" trivy config --skip-check-update --exit-code 1 --ignorefile "$work/lint/terraform/.trivyignore.yaml" "$work/lint/terraform"
    refuse "trivy refuses what .trivyignore.yaml does not answer" 'AVD-AZU-0047' trivy config --skip-check-update --exit-code 1 "$work/lint/terraform"
  else
    skip trivy "it is not installed (make terraform-test installs it)"
  fi
}

section_validate() {
  local dir
  for dir in $(modules); do
    check "init $dir" terraform -chdir="$root/$dir" init -backend=false
    check "validate $dir" terraform -chdir="$root/$dir" validate
  done
  # A check that cannot fail is none: a wrong argument has to be refused.
  mkdir -p "$work/wrong"
  cat >"$work/wrong/main.tf" <<'HCL'
resource "aws_lb" "this" {
  nmae = "x"
}
HCL
  terraform -chdir="$work/wrong" init >/dev/null 2>&1
  refuse "the schemas refuse an argument that does not exist" 'Unsupported argument' terraform -chdir="$work/wrong" validate
}

section_units() {
  terraform -chdir="$root/tests" init >"$work/log" 2>&1 || { fail "init of the unit tests" "$work/log"; return; }
  terraform -chdir="$root/tests" test >"$work/units" 2>&1
  unit_results unit
}

# unit_results PREFIX: one line for each run of the terraform test just made.
unit_results() {
  local file="" line
  while IFS= read -r line; do
    case $line in
      *"tftest.hcl... in progress") file=${line%%.tftest*} ;;
      *'run "'*'"... pass') pass "$1 $file: $(cut -d'"' -f2 <<<"$line")" ;;
      *'run "'*'"... '*) fail "$1 $file: $(cut -d'"' -f2 <<<"$line")" ;;
    esac
  done <"$work/units"
  if ! grep -q '^Success! ' "$work/units"; then
    grep -vE '\.\.\. (pass|in progress|tearing down)$' "$work/units" >"$work/log"
    fail "terraform test" "$work/log"
  fi
}

. "$here/node.sh"
. "$here/dns.sh"
. "$here/live.sh"
. "$here/binaries.sh"
. "$here/apply.sh"
. "$here/azurerm.sh"

sections=(format validate units node dns live binaries azurerm apply)
[ $# -gt 0 ] && sections=("$@")
prepare
for section in "${sections[@]}"; do
  echo "== $section"
  "section_$section"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
