# Whether the real binaries take the settings that node-config renders for them:
# each is built and asked to --check them. Sourced by run.sh.

section_binaries() {
  local b=$work/binaries role module=$root/modules/node-config
  mkdir -p "$b/credentials"
  terraform -chdir="$module" init >"$work/log" 2>&1
  cat >"$b/edge.json" <<JSON
{"role": "edge", "region": "eu-west", "node": "eu-west-1", "artifact": {"url": "file:///srv/x.tar.gz", "sha256": "$(printf '1%.0s' {1..64})"},
 "credentials": {"join-token": "file:///x", "gossip-key": "file:///x"}, "core_url": "https://core.example.net:8081", "public_url": "https://eu-west.ads.example.net", "certificate_ref": "file:///x",
 "environment": {"NEARSIDE_SEEDS": "192.0.2.1:8082,192.0.2.2:8082"}}
JSON
  cat >"$b/core.json" <<JSON
{"role": "core", "region": "home", "artifact": {"url": "file:///srv/x.tar.gz", "sha256": "$(printf '1%.0s' {1..64})"}, "credentials": {"settings": "file:///x"}}
JSON
  mkdir -p "$b/tls"
  echo join >"$b/credentials/join-token"
  head -c 32 /dev/urandom | base64 >"$b/credentials/gossip-key"
  echo "database-url: postgres://nearside:hunter2@db.example.net:5432/nearside?sslmode=require" >"$b/credentials/settings"
  for role in edge core; do
    if [ ! -f "$source_root/../$role/cmd/nearside-$role/main.go" ]; then
      skip "binaries: nearside-$role takes its settings" "it is not in this tree"
      continue
    fi
    if ! (cd "$source_root/.." && go build -o "$b/nearside-$role" "./$role/cmd/nearside-$role") >"$work/log" 2>&1; then
      fail "binaries: build nearside-$role" "$work/log"
      continue
    fi
    terraform -chdir="$module" apply -auto-approve -state="$b/$role.tfstate" -var-file="$b/$role.json" >"$work/log" 2>&1 || { fail "binaries: render $role" "$work/log"; continue; }
    terraform -chdir="$module" output -state="$b/$role.tfstate" -json files >"$b/$role.files.json"
    # The environment as systemd makes it of the unit and its file.
    python3 - "$b" "$role" >"$b/$role.env" <<'PY'
import json, re, sys
work, role = sys.argv[1:]
files = json.load(open(f"{work}/{role}.files.json"))
unit = files[f"/etc/systemd/system/nearside-{role}.service"]["content"]
for line in files[f"/etc/nearside/{role}.env"]["content"].splitlines():
    print(line.replace('"', "").replace("/etc/nearside/tls", work + "/tls"))
for name, value in re.findall(r"^Environment=(\w+)=(.*)$", unit, re.M):
    print(f"{name}={value.replace('%d', work + '/credentials')}")
if role == "edge":
    print("NEARSIDE_NODE=eu-west-1")
PY
    mapfile -t environment <"$b/$role.env"
    [ "$role" = core ] && set -- serve --check || set -- --check
    check "binaries: nearside-$role takes its settings" env -i "${environment[@]}" "$b/nearside-$role" "$@"
    check "binaries: … and says none of its secrets" bash -c "! grep -qE 'hunter2|^join$' '$work/log'"
    # kong ignores environment variables it does not know: each must be known to it.
    local variable
    for variable in $(cut -d= -f1 "$b/$role.env" | grep '^NEARSIDE_'); do
      check "binaries: nearside-$role knows $variable" bash -c "env -i '${environment[0]}' '$b/nearside-$role' $([ "$role" = core ] && echo serve) --help 2>&1 | tr -d ' \n' | grep -q '\$$variable[^A-Z_]'"
    done
  done
}
