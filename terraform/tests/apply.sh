# A real apply: machines that boot a real systemd, reached by real SSH, deployed with
# live/region and the real Terraform; gdnsd answers real queries. Only the two
# binaries are stand-ins. Sourced by run.sh.
#
# Needs root, debootstrap, systemd-nspawn, ssh-keygen, ip, dig. The machines share no
# network with anything: namespaces of their own on a bridge of their own. The base
# image (300 MB, 1 min to make) is kept in NEARSIDE_TEST_CACHE (default /var/cache/nearside-test).

section_apply() {
  if [ "${NEARSIDE_TEST_APPLY:-}" != 1 ] && [ "${explicit:-}" != 1 ]; then
    skip "apply to booted machines" "takes some minutes and root; run.sh apply, or NEARSIDE_TEST_APPLY=1"
    return
  fi
  local tool
  [ "$(id -u)" = 0 ] || { skip "apply to booted machines" "it needs root"; return; }
  for tool in debootstrap systemd-nspawn ssh-keygen ip nsenter dig; do
    have "$tool" || { skip "apply to booted machines" "$tool is not installed (Debian: debootstrap, systemd-container, openssh-client, iproute2, bind9-dnsutils)"; return; }
  done
  local base=${NEARSIDE_TEST_CACHE:-/var/cache/nearside-test}/bookworm-1
  if [ ! -e "$base.done" ]; then
    mkdir -p "$base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,openssh-server,iproute2,curl,ca-certificates,python3-minimal,gdnsd bookworm "$base" >"$work/log" 2>&1 ||
      { fail "debootstrap" "$work/log"; return; }
    # One host-key type: with several, pinning one of them fails.
    rm -f "$base"/etc/ssh/ssh_host_*
    touch "$base.done"
  fi

  a=$work/apply
  net=nst$$
  mkdir -p "$a/machines" "$a/artifacts"
  ssh-keygen -q -t ed25519 -N '' -f "$a/key"
  ip netns add "$net-home" && ip -n "$net-home" link add br0 type bridge && ip -n "$net-home" addr add 10.99.0.1/24 dev br0 &&
    ip -n "$net-home" link set br0 up && ip -n "$net-home" link set lo up || { fail "make a network"; return; }
  apply_drill
  apply_sandbox
  apply_cleanup
}

apply_cleanup() {
  local pid
  for pid in "${machines[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${machines[@]}"; do wait "$pid" 2>/dev/null; done
  ip netns list | cut -d' ' -f1 | grep "^$net-" | while read -r ns; do ip netns del "$ns"; done
  machines=() net=""
}

# machine NAME ADDRESS: boots one.
machine() {
  local name=$1 address=$2 dir=$a/machines/$1
  cp -a --reflink=auto "$base" "$dir"
  mkdir -p "$dir/root/.ssh" "$dir/srv" "$dir/var/lib/nearside-geo"
  ssh-keygen -q -t ed25519 -N '' -f "$dir/etc/ssh/ssh_host_ed25519_key"
  install -m 0600 "$a/key.pub" "$dir/root/.ssh/authorized_keys"
  echo "$name" >"$dir/etc/hostname"
  printf '127.0.0.1 localhost %s\n10.99.0.10 core.ads.test\n' "$name" >"$dir/etc/hosts"
  tr -d - </proc/sys/kernel/random/uuid >"$dir/etc/machine-id"
  cp "$a"/artifacts/*.tar.gz "$dir/srv/"
  cp "$a/city.mmdb" "$dir/var/lib/nearside-geo/"
  ip netns add "$net-$name"
  ip -n "$net-$name" link add eth0 type veth peer name "$name" netns "$net-home"
  ip -n "$net-home" link set "$name" master br0 up
  ip -n "$net-$name" addr add "$address/24" dev eth0
  ip -n "$net-$name" link set eth0 up
  ip -n "$net-$name" link set lo up
  # Not "ip netns exec": it mounts /sys anew, which the machine cannot boot with.
  nsenter --net="/run/netns/$net-$name" systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe -D "$dir" >"$a/$name.log" 2>&1 </dev/null &
  machines+=($!)
}

home() { nsenter --net="/run/netns/$net-home" "$@"; }
on() { local address=$1; shift; home ssh -q -i "$a/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=3 "root@10.99.0.$address" "$@"; }

# standin VERSION HEALTH: an artifact of each binary.
standin() {
  local name
  mkdir -p "$a/build"
  (cd "$here/go" && go build -trimpath -ldflags "-s -w -X main.version=$1 -X main.health=$2" -o "$a/build/standin" ./standin) || return 1
  for name in nearside-edge nearside-core; do
    cp "$a/build/standin" "$a/build/$name"
    tar -C "$a/build" -czf "$a/artifacts/$name-$1.tar.gz" "$name"
  done
}

artifact() { echo "{\"url\": \"file:///srv/$1-$2.tar.gz\", \"sha256\": \"$(sha256sum "$a/artifacts/$1-$2.tar.gz" | cut -d' ' -f1)\"}"; }

# host ADDRESS: one entry of a hosts map.
host() {
  local key
  key=$(cut -d' ' -f1,2 "$a/machines/$2/etc/ssh/ssh_host_ed25519_key.pub")
  echo "{ address = \"10.99.0.$1\", host_key = \"$key\", private_key_path = \"$a/key\", ipv4 = \"10.99.0.$1\" }"
}

# fleet NEXT THROUGH: live/fleet.json.
fleet() {
  cat >"$l/fleet.json" <<JSON
{"core": {"endpoint": "http://core.ads.test:8081", "ca": "", "artifact": $(artifact nearside-core 1)},
 "release": {"current": $(artifact nearside-edge 1), "next": $1, "through_wave": $2}, "drained": [],
 "regions": {"eu-west": {"lat": 53.35, "lon": -6.26, "wave": 0, "capacity": {"min": 2, "max": 2}},
             "us-east": {"lat": 39.04, "lon": -77.49, "wave": 1, "capacity": {"min": 1, "max": 1}}}}
JSON
}

apply_drill() {
  local i
  "$work/world" mmdb "$a/city.mmdb" && standin 1 well && standin 2 well && standin 3 sick || { fail "make artifacts"; return; }
  machine core 10.99.0.10; machine eu1 10.99.0.21; machine eu2 10.99.0.22; machine us1 10.99.0.31; machine ns1 10.99.0.5; machine ns2 10.99.0.6
  for i in 10 21 22 31 5 6; do
    eventually 60 on "$i" systemctl is-system-running --wait || { fail "machine $i boots" "$a/core.log"; return; }
  done

  # live/ and modules/ as an operator has them.
  mkdir -p "$a/repo"
  cp -r "$root/live" "$root/modules" "$a/repo/"
  l=$a/repo/live
  fleet null -1
  cat >"$l/ssh/core/terraform.tfvars" <<HCL
dns_name       = "core.ads.test"
tls            = false
secret_version = 1
hosts          = { core-1 = $(host 10 core) }
HCL
  printf 'dns_name = "eu-west.ads.test"\ntoken_version = 1\ndrain_seconds = 30\nhosts = {\n  eu-west-1 = %s\n  eu-west-2 = %s\n}\n' "$(host 21 eu1)" "$(host 22 eu2)" >"$l/ssh/region/eu-west.tfvars"
  printf 'dns_name = "us-east.ads.test"\ntoken_version = 1\ndrain_seconds = 30\nhosts = {\n  us-east-1 = %s\n}\n' "$(host 31 us1)" >"$l/ssh/region/us-east.tfvars"
  printf 'zone = "ads.test"\nhostmaster = "hostmaster.ads.test"\nservers = {\n  ns1 = %s\n  ns2 = %s\n}\n' "$(host 5 ns1)" "$(host 6 ns2)" >"$l/ssh/geo-dns/terraform.tfvars"
  printf '#!/bin/bash\nexec nsenter --net=/run/netns/%s-home terraform "$@"\n' "$net" >"$a/terraform"
  chmod +x "$a/terraform"
  export TF_VAR_join_token=join-hunter2-secret TF_VAR_secrets='{"settings": "database-url: postgres://nearside:db-hunter2-secret@db/nearside"}'
  region() { env TERRAFORM="$a/terraform" REGION_WAIT=1 "$l/region" "$@" -auto-approve; }
  core_root() { (cd "$l/ssh/core" && "$a/terraform" init -backend-config="path=$l/states/core.tfstate" && "$a/terraform" "$@"); }
  ask() { home dig +short +time=1 +tries=1 @10.99.0.5 "$@" | sort | tr '\n' ' '; }
  told() { [ "$(ask server.ads.test A "+subnet=$1")" = "$2" ]; }
  runs() { [ "$(home curl -s -m 2 "http://10.99.0.$1/")" = "$2" ]; }
  ready() { home curl -sf -m 2 -o /dev/null "http://10.99.0.$1/readyz"; }
  local berlin=198.51.100.0/24 york=192.0.2.0/24 eu="10.99.0.21 10.99.0.22 " us="10.99.0.31 "

  check "apply: a core" core_root apply -auto-approve
  check "apply: … it migrated, runs as nobody's user, and its sync port answers" bash -c "$(declare -f on home); net=$net a=$a
    on 10 'systemctl is-active nearside-core && [ \"\$(stat -c %U /proc/\$(systemctl show -p MainPID --value nearside-core))\" != root ]' && home curl -sf -m 2 -o /dev/null http://10.99.0.10:8081/readyz"
  check "apply: region open eu-west" region open ssh eu-west
  check "apply: … both nodes run release 1" eval 'runs 21 "eu-west eu-west-1 version 1" && runs 22 "eu-west eu-west-2 version 1"'
  check "apply: region open us-east" region open ssh us-east
  check "apply: … and it runs" runs 31 "us-east us-east-1 version 1"
  check "apply: a second apply finds nothing to do" bash -c "cd '$l/ssh/region' && TF_DATA_DIR='$l/ssh/region/.terraform/eu-west' '$a/terraform' plan -detailed-exitcode -var name=eu-west -var-file=eu-west.tfvars"
  check "apply: a reader in Berlin is sent to eu-west" eventually 20 told "$berlin" "$eu"
  check "apply: a reader in New York is sent to us-east" told "$york" "$us"
  check "apply: the join token reaches the edge, and only root can read it" bash -c "$(declare -f on home); net=$net a=$a
    on 21 'cat /etc/nearside/credentials/join-token && stat -c %a /etc/nearside/credentials /etc/nearside/credentials/join-token /etc/nearside/secrets' | tr '\n' ' ' | grep -qx 'join-hunter2-secret *700 600 700 '"
  check "apply: no secret in any state or plan" bash -c "! grep -rl hunter2 '$l' && ls '$l'/states/*.tfstate | grep -c . | grep -qx 4"
  check "apply: systemd scores the running unit as the file said" bash -c "$(declare -f on home); net=$net a=$a
    on 21 'systemd-analyze security --threshold=20 nearside-edge.service' | tail -1"

  on 31 systemctl stop nearside-edge
  check "apply: us-east goes dark: New York is sent to eu-west" eventually 20 told "$york" "$eu"
  on 31 systemctl start nearside-edge
  check "apply: … and back" eventually 20 told "$york" "$us"

  fleet "$(artifact nearside-edge 3)" 0
  refuse "apply: a sick release fails the canary's apply" 'did not become ready.*rolled back' region open ssh eu-west
  check "apply: … its first node is back on release 1, ready" eval 'runs 21 "eu-west eu-west-1 version 1" && ready 21'
  check "apply: … the second was not touched" eval 'runs 22 "eu-west eu-west-2 version 1" && on 22 "! ls /opt/nearside/edge/releases | grep -q $(sha256sum "$a/artifacts/nearside-edge-3.tar.gz" | cut -c1-64)"'
  fleet "$(artifact nearside-edge 2)" -1
  check "apply: region rollout 0" env "$l/region" rollout 0
  check "apply: a good release" region open ssh eu-west
  check "apply: … on both nodes of the canary" eval 'runs 21 "eu-west eu-west-1 version 2" && runs 22 "eu-west eu-west-2 version 2"'
  check "apply: … the other wave's apply changes nothing" region open ssh us-east
  check "apply: … still release 1" runs 31 "us-east us-east-1 version 1"

  sed "s/host_key = \"ssh-ed25519 [^\"]*\"/host_key = \"$(cut -d' ' -f1,2 "$a/key.pub" | sed 's/[/&]/\\&/g')\"/" "$l/ssh/region/us-east.tfvars" >"$l/ssh/region/us-east.tfvars.wrong"
  cp "$l/ssh/region/us-east.tfvars" "$l/ssh/region/us-east.tfvars.right"
  mv "$l/ssh/region/us-east.tfvars.wrong" "$l/ssh/region/us-east.tfvars"
  check "apply: region rollout 1" env "$l/region" rollout 1
  refuse "apply: a host with another key is not trusted" 'key mismatch' timeout 200 bash -c "$(declare -f region); a=$a l=$l; region open ssh us-east"
  mv "$l/ssh/region/us-east.tfvars.right" "$l/ssh/region/us-east.tfvars"
  check "apply: … with the right one the next wave gets the release" region open ssh us-east
  check "apply: … and runs it" runs 31 "us-east us-east-1 version 2"

  check "apply: region drain us-east" region drain us-east
  check "apply: … New York is sent to eu-west, though us-east is ready" eval 'eventually 20 told "$york" "$eu" && ready 31'
  check "apply: … and its own name stays" test "$(ask us-east.ads.test A)" = "$us"
  check "apply: region undrain us-east" region undrain us-east
  check "apply: … and back" eventually 20 told "$york" "$us"

  check "apply: region remove us-east" region remove ssh us-east
  check "apply: … its edge drained: the holder is closed" on 31 "grep -qx closed /var/lib/private/nearside-edge/holder"
  check "apply: … nothing of it is left running or lying around" on 31 "! pgrep nearside && ! ls -d /opt/nearside /etc/nearside /usr/local/lib/nearside /etc/systemd/system/nearside-edge.service"
  check "apply: … and its name is gone" eventually 20 eval '[ -z "$(ask us-east.ads.test A)" ]'

  eu_destroy() { (cd "$l/ssh/region" && TF_DATA_DIR=$l/ssh/region/.terraform/eu-west "$a/terraform" destroy -auto-approve -var name=eu-west -var-file=eu-west.tfvars); }
  on 21 'systemctl mask --quiet --runtime nearside-edge; kill -9 $(systemctl show -p MainPID --value nearside-edge)'
  refuse "apply: destroying a node whose edge was killed fails" 'not drained.*fenced; its money stays set aside.*exited with status 5' eu_destroy
  check "apply: … its holder is fenced, its files are there" on 21 "grep -qx fenced /var/lib/private/nearside-edge/holder && ls -d /etc/nearside"
  check "apply: … the other node drained" on 22 "grep -qx closed /var/lib/private/nearside-edge/holder && ! ls -d /etc/nearside"
  on 21 'systemctl unmask --quiet --runtime nearside-edge; touch /etc/nearside/abandoned'
  check "apply: … until somebody has seen to it" eu_destroy
  check "apply: destroy the core" core_root destroy -auto-approve
  check "apply: … nothing of it is left" on 10 "! pgrep nearside && ! ls -d /opt/nearside /etc/nearside"
}

# apply_sandbox: the real edge in its hardened unit, without a core. It cannot become
# ready; it has to start, keep its state, answer, and end by itself on SIGTERM.
apply_sandbox() {
  local module=$root/modules/node-config
  if [ ! -f "$source_root/../edge/cmd/nearside-edge/main.go" ]; then
    skip "apply: the real edge in its unit" "it is not in this tree"
    return
  fi
  (cd "$source_root/.." && CGO_ENABLED=0 go build -o "$a/nearside-edge" ./edge/cmd/nearside-edge) >"$work/log" 2>&1 || { fail "apply: build the real edge" "$work/log"; return; }
  cat >"$a/edge.json" <<JSON
{"role": "edge", "region": "us-east", "node": "us-east-1", "artifact": $(artifact nearside-edge 1), "credentials": {"join-token": "file:///x"},
 "core_url": "http://10.99.0.10:8081", "public_url": "http://us-east.ads.test", "public_port": 80}
JSON
  terraform -chdir="$module" init >/dev/null 2>&1
  terraform -chdir="$module" apply -auto-approve -state="$a/edge.tfstate" -var-file="$a/edge.json" >"$work/log" 2>&1 || { fail "apply: render the real edge" "$work/log"; return; }
  terraform -chdir="$module" output -state="$a/edge.tfstate" -raw install_script | on 31 sh
  on 31 'mkdir -p /opt/nearside/edge/current && cat >/opt/nearside/edge/current/nearside-edge && chmod 755 /opt/nearside/edge/current/nearside-edge' <"$a/nearside-edge"
  on 31 'rm -rf /var/lib/private/nearside-edge /var/lib/nearside-edge; install -d -m 0700 /etc/nearside/credentials; echo join >/etc/nearside/credentials/join-token
    echo NEARSIDE_NODE=us-east-1 >/etc/nearside/node.env; systemctl daemon-reload; systemctl start nearside-edge'
  check "apply: the real edge starts in its hardened unit" eventually 20 on 31 curl -sf -m 2 -o /dev/null http://127.0.0.1:81/livez
  check "apply: … keeps state there" on 31 'ls /var/lib/private/nearside-edge | grep -q .'
  check "apply: … is not ready without a core, and says so on both ports" on 31 '[ "$(curl -s -m 2 -o /dev/null -w "%{http_code}" http://127.0.0.1/readyz; curl -s -m 2 -o /dev/null -w "%{http_code}" http://127.0.0.1:81/readyz)" = 503503 ]'
  check "apply: … was refused nothing by the sandbox that it minds" on 31 '! journalctl -u nearside-edge --no-pager | grep -iE "operation not permitted|permission denied|read-only file system|bad system call"'
  on 31 systemctl stop nearside-edge
  check "apply: … and ends by itself on SIGTERM" on 31 '[ "$(systemctl show -p Result --value nearside-edge)" = success ]'
}
