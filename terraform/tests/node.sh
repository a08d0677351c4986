# The node's own scripts, run for real: sourced by run.sh.

# A machine in a directory: fake_systemctl stands for systemd (and for the unit: it
# starts whatever current points to, by writing the status that release's ready file
# names), everything else is the real script.
fake_machine() {
  local dir=$1
  mkdir -p "$dir/artifacts" "$dir/opt" "$dir/www"
  port=$(free_port)
  start_world "$dir/www" "127.0.0.1:$port"
  status_file=$dir/www/127.0.0.1_$port.status
  echo 503 >"$status_file"
  cat >"$dir/systemctl" <<SH
#!/bin/bash
echo "\$*" >>"$dir/systemctl.log"
case \$1 in
  restart) "$dir/opt/edge/current/nearside-edge" ready >"$status_file" ;;
  stop) echo 503 >"$status_file"; [ -f "$dir/stuck" ] || echo inactive >"$dir/state" ;;
  disable) echo 0 >"$dir/exited" ;;
  show)
    case \$3 in
      ActiveState) cat "$dir/state" ;;
      Result) cat "$dir/result" ;;
      ExecMainStatus) echo 0 ;;
      ExecMainExitTimestampMonotonic) cat "$dir/exited" ;;
    esac ;;
esac
SH
  sed -i 's/case \$3 in/case ${3:-} in/' "$dir/systemctl"
  chmod +x "$dir/systemctl"
}

# release DIR NAME STATUS: an artifact whose unit answers /readyz with STATUS.
release() {
  local dir=$1 name=$2 code=$3
  mkdir -p "$dir/build/$name/bin"
  printf '#!/bin/bash\n# %s\n[ "$1" = ready ] && echo %s\n[ "$1" != fence ]\n' "$name" "$code" >"$dir/build/$name/bin/nearside-edge"
  chmod +x "$dir/build/$name/bin/nearside-edge"
  tar -C "$dir/build" -czf "$dir/artifacts/$name.tar.gz" "$name"
  sha256sum "$dir/artifacts/$name.tar.gz" | cut -d' ' -f1
}

section_node() {
  local files=$root/modules/node-config/files
  local m=$work/machine one two sick broken empty
  fake_machine "$m"
  one=$(release "$m" one 200)
  two=$(release "$m" two 200)
  sick=$(release "$m" sick 500)
  echo "not a tar" >"$m/artifacts/broken.tar.gz"
  broken=$(sha256sum "$m/artifacts/broken.tar.gz" | cut -d' ' -f1)
  tar -C "$m/build" --exclude nearside-edge -czf "$m/artifacts/empty.tar.gz" one/bin
  empty=$(sha256sum "$m/artifacts/empty.tar.gz" | cut -d' ' -f1)

  run_install() {
    env INSTALL_PREFIX="$m/opt" INSTALL_SYSTEMCTL="$m/systemctl" INSTALL_READY_URL="http://127.0.0.1:$port/readyz" \
      INSTALL_READY_TIMEOUT=2 INSTALL_READY_COUNT=2 INSTALL_READY_INTERVAL=0.1 "$files/nearside-install" "$@"
  }
  current() { readlink "$m/opt/edge/current"; }

  status "install: a first release that is not ready leaves none" 4 run_install edge "file://$m/artifacts/sick.tar.gz" "$sick"
  check "install: … and stops the unit" bash -c "[ ! -e '$m/opt/edge/current' ] && tail -1 '$m/systemctl.log' | grep -q '^stop '"
  status "install: a good release" 0 run_install edge "file://$m/artifacts/one.tar.gz" "$one"
  check "install: … is what current points to" test "$(current)" = "releases/$one"
  status "install: the same release again" 0 run_install edge "file://$m/artifacts/one.tar.gz" "$one"
  check "install: … does not restart the unit" test "$(grep -c '^restart' "$m/systemctl.log")" = 2
  status "install: another good release" 0 run_install edge "file://$m/artifacts/two.tar.gz" "$two"
  check "install: … is what current points to now" test "$(current)" = "releases/$two"
  status "install: a wrong sha256 is refused" 1 run_install edge "file://$m/artifacts/one.tar.gz" "${one//[0-9]/a}"
  status "install: a missing artifact is refused" 1 run_install edge "file://$m/artifacts/none.tar.gz" "${one//[0-9]/b}"
  status "install: an artifact that is no tar is refused" 1 run_install edge "file://$m/artifacts/broken.tar.gz" "$broken"
  status "install: an artifact without the binary is refused" 1 run_install edge "file://$m/artifacts/empty.tar.gz" "$empty"
  status "install: plain http is refused" 2 run_install edge "http://127.0.0.1:$port/one.tar.gz" "$one"
  status "install: a short sha256 is refused" 2 run_install edge "file://$m/artifacts/one.tar.gz" abc
  status "install: an unknown role is refused" 2 run_install both "file://$m/artifacts/one.tar.gz" "$one"
  check "install: … and none of these changed what runs" test "$(current)" = "releases/$two"
  status "install: a release that does not become ready is rolled back" 3 run_install edge "file://$m/artifacts/sick.tar.gz" "$sick"
  check "install: … to the one before, restarted and ready" bash -c "[ '$(current)' = 'releases/$two' ] && grep -q 200 '$status_file'"
  check "install: … with no half-made directory left" bash -c "! ls -d '$m'/opt/edge/.new.* 2>/dev/null"
  local i sum
  for i in 3 4 5 6; do
    sum=$(release "$m" "r$i" 200)
    run_install edge "file://$m/artifacts/r$i.tar.gz" "$sum" >/dev/null 2>&1
  done
  check "install: old releases go, three stay" test "$(ls "$m/opt/edge/releases" | wc -l)" = 3
  (exec 9>"$m/opt/edge/.lock"; flock 9; status_under_lock=0
    run_install edge "file://$m/artifacts/one.tar.gz" "$one" >/dev/null 2>&1 9>&- || status_under_lock=$?; exit $status_under_lock)
  check "install: two at once: the second is refused" test $? = 1

  node_secret "$files" "$m"
  node_drain "$files" "$m"
  node_termination "$files" "$m"
  node_saturation "$files" "$m"
  node_bootstrap "$m"
  node_certificate "$files" "$m"
}

node_secret() {
  local files=$1 m=$2 base=http://127.0.0.1:$port
  fetched() { env AWS_IMDS="$base" AZURE_IMDS="$base" AWS_SECRETS_ENDPOINT="$base" AZURE_VAULT_ENDPOINT="$base" "$files/nearside-secret" "$@"; }
  check "secret: AWS Secrets Manager" fetched arn:aws:secretsmanager:eu-west-1:123456789012:secret:join-AbCdEf "$m/aws"
  check "secret: … with the value" grep -qx aws-join "$m/aws"
  check "secret: Azure Key Vault" fetched https://v.vault.azure.net/secrets/join "$m/azure"
  check "secret: … with the value" grep -qx azure-join "$m/azure"
  echo here >"$m/local"
  check "secret: a file on the node" fetched "file://$m/local" "$m/file"
  check "secret: files are for root alone" test "$(stat -c %a "$m/aws" "$m/azure" "$m/file" | sort -u)" = 600
  status "secret: a missing file is refused" 1 fetched "file://$m/none" "$m/none.out"
  status "secret: an unknown reference is refused" 2 fetched "vault:join" "$m/none.out"
  check "secret: … and leaves nothing" bash -c "! ls '$m'/none.out* 2>/dev/null"
}

node_drain() {
  local files=$1 m=$2
  drain() { env INSTALL_SYSTEMCTL="$m/systemctl" DRAIN_SETTINGS="$m/etc" DRAIN_BINARY="$1" "$files/nearside-drain"; }
  mkdir -p "$m/etc"
  echo 'NEARSIDE_REGION="x"' >"$m/etc/edge.env"
  printf '#!/bin/bash\n[ "$1" = fence ] && [ "$NEARSIDE_REGION" = x ]\n' >"$m/fences"
  chmod +x "$m/fences"
  # unit RESULT EXITED: what systemd says of it after the stop.
  unit() { echo active >"$m/state"; echo "$1" >"$m/result"; echo "$2" >"$m/exited"; }
  unit success 7
  status "drain: the edge ended by itself: drained" 0 drain /bin/false
  unit timeout 7
  status "drain: the edge had to be killed: fenced" 5 drain "$m/fences"
  unit success 0
  status "drain: the edge has not run since boot: fenced" 5 drain "$m/fences"
  unit success 7
  touch "$m/stuck"
  status "drain: the unit cannot be stopped: fenced" 5 drain "$m/fences"
  rm "$m/stuck"
  unit timeout 7
  status "drain: neither drained nor fenced is said" 6 drain /bin/false
  touch "$m/etc/abandoned"
  status "drain: a person has seen to the holder" 0 drain /bin/false
}

node_termination() {
  local files=$1 m=$2 base=http://127.0.0.1:$port pid cloud
  printf '#!/bin/bash\ncat "%s/www/requests" | wc -l >"%s/drained-at"; exit $(cat "%s/drain-exit")\n' "$m" "$m" "$m" >"$m/drain"
  chmod +x "$m/drain"
  for cloud in aws azure; do
    rm -f "$m/drained-at"
    echo 0 >"$m/drain-exit"
    env TERMINATION_IMDS="$base" TERMINATION_AWS_ENDPOINT="$base" TERMINATION_POLL=0.1 TERMINATION_DRAIN="$m/drain" \
      TERMINATION_HOOK=drain TERMINATION_GROUP=edges "$files/nearside-termination" "$cloud" >"$m/termination.log" 2>&1 &
    pid=$!
    pids+=("$pid")
    : >"$m/www/requests"
    # It has asked several times and was told to stay.
    eventually 10 bash -c "[ \$(grep -cE 'target-lifecycle-state|scheduledevents' '$m/www/requests') -ge 3 ]"
    check "termination $cloud: nobody wants the node, nothing is drained" test ! -e "$m/drained-at"
    if [ "$cloud" = aws ]; then
      echo Terminated >"$m/www/lifecycle"
    else
      echo '{"Events": [{"EventId": "other", "EventType": "Terminate", "Resources": ["edge_8"]}, {"EventId": "reboot", "EventType": "Reboot", "Resources": ["edge_7"]}, {"EventId": "mine", "EventType": "Terminate", "Resources": ["edge_7"]}]}' >"$m/www/events"
    fi
    check "termination $cloud: the script ends" wait "$pid"
    unset 'pids[-1]'
    check "termination $cloud: it drained" test -e "$m/drained-at"
    if [ "$cloud" = aws ]; then
      check "termination aws: and answered its hook, signed" grep -q 'Action=CompleteLifecycleAction.*LifecycleHookName=drain.*AutoScalingGroupName=edges.*LifecycleActionResult=CONTINUE.*InstanceId=i-0123456789abcdef0' "$m/www/requests"
    else
      check "termination azure: and approved its own event" grep -q '"body":"{\\"StartRequests\\": \[{\\"EventId\\": \\"mine\\"}\]}"' "$m/www/requests"
    fi
    check "termination $cloud: after the drain, not before" bash -c "
      [ \$(grep -nE 'CompleteLifecycleAction|StartRequests' '$m/www/requests' | cut -d: -f1) -gt \$(cat '$m/drained-at') ]"
  done
  echo 6 >"$m/drain-exit"
  : >"$m/www/requests"
  check "termination aws: a failed drain" env TERMINATION_IMDS="$base" TERMINATION_AWS_ENDPOINT="$base" TERMINATION_POLL=0.1 TERMINATION_DRAIN="$m/drain" \
    TERMINATION_HOOK=drain TERMINATION_GROUP=edges "$files/nearside-termination" aws
  check "termination aws: … is told to the group" grep -q LifecycleActionResult=ABANDON "$m/www/requests"
}

node_saturation() {
  local files=$1 m=$2 base=http://127.0.0.1:$port
  saturation() {
    env SATURATION_IMDS="$base" SATURATION_AWS_ENDPOINT="$base" SATURATION_AZURE_ENDPOINT="$base" SATURATION_METRICS_URL="$base/metrics" \
      SATURATION_REGION=eu-west SATURATION_RESOURCE=/subscriptions/s/resourceGroups/g SATURATION_LOCATION=westeurope "$files/nearside-saturation" "$1"
  }
  : >"$m/www/requests"
  status "saturation: no metric, nothing is sent" 1 saturation aws
  check "saturation: … really nothing" hasnt "$m/www/requests" PutMetricData
  printf '# HELP nearside_edge_saturation x\nnearside_edge_saturation_other 9\nnearside_edge_saturation 0.42\n' >"$m/www/metrics"
  check "saturation aws" saturation aws
  check "saturation aws: the value, for this region" grep -q 'Action=PutMetricData.*MetricName=nearside_edge_saturation.*Value=0.42.*Dimensions.member.1.Value=eu-west' "$m/www/requests"
  check "saturation azure" saturation azure
  check "saturation azure: the value, for this region" bash -c "grep '/subscriptions/s/resourceGroups/g/metrics' '$m/www/requests' | grep -q 'eu-west.*0.42'"
}

# node_certificate: what readers see, brought, renewed, and refused where it is none.
node_certificate() {
  local files=$1 m=$2 c=$work/certificate
  mkdir -p "$c/etc"
  if ! have openssl; then
    skip "certificate" "openssl is not installed"
    return
  fi
  local name
  for name in one two old; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$name" -keyout "$c/$name.key" -out "$c/$name.crt" 2>/dev/null
    cat "$c/$name.key" "$c/$name.crt" >"$c/$name.pem"
  done
  # One whose time has run out: issued for a day that is over.
  openssl req -new -key "$c/old.key" -subj /CN=old 2>/dev/null | openssl x509 -req -signkey "$c/old.key" -days -1 -out "$c/old.crt" 2>/dev/null
  cat "$c/old.key" "$c/old.crt" >"$c/old.pem"
  cat "$c/one.key" "$c/two.crt" >"$c/mixed.pem"
  echo "CERTIFICATE='file://$c/now.pem'" >"$c/node.conf"
  certificate() { env BOOTSTRAP_CONF="$c/node.conf" BOOTSTRAP_ETC="$c/etc" CERTIFICATE_GROUP="$(id -gn)" "$files/nearside-certificate"; }
  in_force() { cmp -s "$c/$1.pem" "$c/etc/tls/public.pem"; }
  status "certificate: there is none yet" 1 certificate
  check "certificate: … and nothing is in force" test ! -e "$c/etc/tls/public.pem"
  cp "$c/one.pem" "$c/now.pem"
  check "certificate: a first one" certificate
  check "certificate: … is in force, for root and the unit's group" bash -c "cmp '$c/one.pem' '$c/etc/tls/public.pem' && [ \$(stat -c %a '$c/etc/tls/public.pem') = 640 ]"
  local before
  before=$(stat -c %i "$c/etc/tls/public.pem")
  check "certificate: the same again" certificate
  check "certificate: … does not touch the file" test "$(stat -c %i "$c/etc/tls/public.pem")" = "$before"
  for name in mixed old; do
    cp "$c/$name.pem" "$c/now.pem"
    status "certificate: $name is refused" 1 certificate
  done
  cp "$c/two.crt" "$c/now.pem"
  status "certificate: one without its key is refused" 1 certificate
  echo nonsense >"$c/now.pem"
  status "certificate: what is none is refused" 1 certificate
  rm "$c/now.pem"
  status "certificate: one that cannot be had" 1 certificate
  check "certificate: … and after all these the first is in force" in_force one
  check "certificate: … with nothing lying around" bash -c "[ \$(ls -A '$c/etc/tls' | wc -l) = 1 ]"
  cp "$c/two.pem" "$c/now.pem"
  check "certificate: a renewed one" certificate
  check "certificate: … is in force, by another file" bash -c "cmp '$c/two.pem' '$c/etc/tls/public.pem' && [ \$(stat -c %i '$c/etc/tls/public.pem') != $before ]"
}

# node_bootstrap renders a node with the module and runs what came out, paths moved
# into a directory.
node_bootstrap() {
  local m=$1 c=$work/rendered one
  mkdir -p "$c"
  one=$(sha256sum "$m/artifacts/one.tar.gz" | cut -d' ' -f1)
  cat >"$c/edge.tfvars.json" <<JSON
{"role": "edge", "region": "eu-west", "cloud": "aws", "cloud_settings": {"TERMINATION_GROUP": "g", "TERMINATION_HOOK": "drain"},
 "artifact": {"url": "file://$m/artifacts/one.tar.gz", "sha256": "$one"}, "credentials": {"join-token": "file://$m/local"},
 "core_url": "https://core.example.net:8081", "public_url": "https://eu-west.ads.example.net", "node": "eu-west-1", "certificate_ref": "file://$work/readers.pem"}
JSON
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=readers -keyout "$c/readers.key" -out "$c/readers.crt" 2>/dev/null
  cat "$c/readers.key" "$c/readers.crt" >"$work/readers.pem"
  cat >"$c/core.tfvars.json" <<JSON
{"role": "core", "region": "home", "artifact": {"url": "file://$m/artifacts/one.tar.gz", "sha256": "$one"},
 "credentials": {"settings": "file:///etc/nearside/settings"}}
JSON
  terraform -chdir="$root/modules/node-config" init >"$work/log" 2>&1
  local role
  for role in edge core; do
    check "node-config: render $role" terraform -chdir="$root/modules/node-config" apply -auto-approve -state="$c/$role.tfstate" -var-file="$c/$role.tfvars.json"
    terraform -chdir="$root/modules/node-config" output -state="$c/$role.tfstate" -raw user_data >"$c/$role.user-data" 2>/dev/null
    terraform -chdir="$root/modules/node-config" output -state="$c/$role.tfstate" -json files 2>/dev/null >"$c/$role.files.json"
    python3 - "$c/$role.files.json" "$c/$role" <<'PY'
import json, os, sys
for path, f in json.load(open(sys.argv[1])).items():
    to = sys.argv[2] + path
    os.makedirs(os.path.dirname(to), exist_ok=True)
    open(to, "w").write(f["content"])
    os.chmod(to, int(f["mode"], 8))
PY
    if have cloud-init; then
      check "node-config: cloud-init takes the user data ($role)" cloud-init schema -c "$c/$role.user-data"
    else
      skip "node-config: cloud-init schema ($role)" "cloud-init is not installed"
    fi
    if have systemd-analyze; then
      mkdir -p "$c/$role/opt/nearside/$role/current"
      printf '#!/bin/sh\n' >"$c/$role/opt/nearside/$role/current/nearside-$role"
      chmod +x "$c/$role/opt/nearside/$role/current/nearside-$role"
      # The programs a unit starts are not on this machine: look at copies that start one that is.
      mkdir -p "$c/$role/units"
      for unit in "$c/$role"/etc/systemd/system/*; do
        sed -E 's#^(ExecStart(Pre)?=)(/opt/nearside|/usr/local/lib/nearside)/[^ ]+#\1/bin/true#' "$unit" >"$c/$role/units/$(basename "$unit")"
      done
      check "node-config: systemd takes the units ($role)" bash -c "
        out=\$(systemd-analyze verify '$c/$role'/units/* 2>&1); status=\$?; echo \"\$out\"
        [ \$status -eq 0 ] && ! grep -E 'nearside-.*(Unknown|ignor|Failed)' <<<\"\$out\""
      check "node-config: the unit's exposure is at most 1.5 ($role)" bash -c "
        systemd-analyze security --offline=yes --threshold=15 '$c/$role/units/nearside-$role.service' | tail -1"
      sed 's/^ProtectSystem=strict/ProtectSystm=strict/' "$c/$role/units/nearside-$role.service" >"$c/nearside-wrong.service"
      check "node-config: … and a misspelt setting would be seen ($role)" bash -c "systemd-analyze verify '$c/nearside-wrong.service' 2>&1 | grep -q 'Unknown key'"
    else
      skip "node-config: systemd-analyze verify and security ($role)" "systemd is not installed"
    fi
  done

  local b=$work/boot
  mkdir -p "$b/etc" "$b/lib"
  cp "$c/edge/etc/nearside/edge.env" "$b/etc"
  cp "$c"/edge/usr/local/lib/nearside/* "$b/lib"
  sed "s#^export INSTALL_READY_URL=.*#export INSTALL_READY_URL=http://127.0.0.1:$port/readyz INSTALL_READY_COUNT=1 INSTALL_PREFIX=$m/opt#" \
    "$c/edge/etc/nearside/node.conf" >"$b/etc/node.conf"
  bootstrap() {
    : >"$m/systemctl.log"
    env BOOTSTRAP_CONF="$b/etc/node.conf" BOOTSTRAP_ETC="$b/etc" BOOTSTRAP_UNITS="$c/edge/etc/systemd/system" INSTALL_SYSTEMCTL="$m/systemctl" CERTIFICATE_GROUP="$(id -gn)" "$b/lib/nearside-bootstrap"
  }
  check "bootstrap: a node of what was rendered" bootstrap
  check "bootstrap: its name" grep -qx NEARSIDE_NODE=eu-west-1 "$b/etc/node.env"
  check "bootstrap: its credential, for root alone" bash -c "grep -qx here '$b/etc/credentials/join-token' && [ \$(stat -c %a '$b/etc/credentials') = 700 ]"
  check "bootstrap: its release runs" test "$(readlink "$m/opt/edge/current")" = "releases/$one"
  check "bootstrap: what readers see, and a look for a newer one" bash -c "cmp '$work/readers.pem' '$b/etc/tls/public.pem' && grep -qx 'enable --now nearside-certificate.timer' '$m/systemctl.log'"
  check "bootstrap: the drain waits for its order" grep -qx 'enable --now nearside-termination.service' "$m/systemctl.log"
  cat "$m/local" >"$work/readers.pem" # no certificate any more
  check "bootstrap: again, nothing new, and no newer certificate to be had" bootstrap
  check "bootstrap: … and nothing is restarted" hasnt "$m/systemctl.log" '^restart'
  echo 'NEARSIDE_NEW="1"' >>"$b/etc/edge.env"
  check "bootstrap: again, with another setting" bootstrap
  check "bootstrap: … and the unit is restarted once" test "$(grep -c '^restart' "$m/systemctl.log")" = 1

  terraform -chdir="$root/modules/node-config" output -state="$c/edge.tfstate" -raw install_script >"$b/lay.sh" 2>/dev/null
  sed -E "s#(/etc/nearside|/etc/systemd|/usr/local/lib)#$b/laid\1#g" "$b/lay.sh" >"$b/lay-here.sh"
  check "install_script: lays the same files" bash -c "sh '$b/lay-here.sh' && diff -r '$b/laid/usr' '$c/edge/usr' && diff -r '$b/laid/etc' '$c/edge/etc'"
}
