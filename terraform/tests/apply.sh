# A real apply: machines that boot a real systemd, reached by real SSH, deployed with
# live/region and the real Terraform. They run what `make dist` makes of this tree:
# nearside-core on a real Postgres, nearside-edge in its hardened unit, certificates
# between them and towards readers; gdnsd answers real queries. Sourced by run.sh.
#
# Needs root, debootstrap, systemd-nspawn, ssh-keygen, ip, dig, openssl, and nfpm and
# cyclonedx-gomod on PATH (make terraform-test has them). The machines share no network
# with anything: namespaces of their own on a bridge of their own. The base image
# (600 MB, 2 min to make) is kept in NEARSIDE_TEST_CACHE (default
# /var/cache/nearside-test); each machine is a layer over it.

section_apply() {
  if [ "${NEARSIDE_TEST_APPLY:-}" = 0 ]; then
    skip "apply to booted machines" "NEARSIDE_TEST_APPLY=0"
    return
  fi
  local tool
  [ "$(id -u)" = 0 ] || { skip "apply to booted machines" "it needs root"; return; }
  for tool in debootstrap systemd-nspawn ssh-keygen ip nsenter dig openssl git; do
    have "$tool" || { skip "apply to booted machines" "$tool is not installed (Debian: debootstrap, systemd-container, openssh-client, iproute2, bind9-dnsutils, openssl)"; return; }
  done
  for tool in nfpm cyclonedx-gomod; do
    have "$tool" || { skip "apply to booted machines" "$tool is not on PATH (make terraform-test installs it)"; return; }
  done
  a=$work/apply
  mkdir -p "$a/machines" "$a/artifacts"
  apply_base && apply_artifacts || return
  net=nst$$
  ssh-keygen -q -t ed25519 -N '' -f "$a/key"
  ip netns add "$net-home" && ip -n "$net-home" link add br0 type bridge && ip -n "$net-home" addr add 10.99.0.1/24 dev br0 &&
    ip -n "$net-home" link set br0 up && ip -n "$net-home" link set lo up || { fail "make a network"; return; }
  apply_drill
  local was=$net
  apply_cleanup
  check "apply: no process, mount or network of it is left" bash -c "
    ! ls -l /proc/[0-9]*/root 2>/dev/null | grep -F '$a/machines' && ! grep -F '$a/machines' /proc/mounts && ! ip netns list | grep '^$was-'"
}

# apply_base: the image that all machines begin with.
apply_base() {
  base=${NEARSIDE_TEST_CACHE:-/var/cache/nearside-test}/bookworm-2
  [ ! -e "$base.done" ] || return 0
  rm -rf "$base"
  mkdir -p "$base"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,openssh-server,iproute2,curl,ca-certificates,python3-minimal,gdnsd bookworm "$base" >"$work/log" 2>&1 ||
    { fail "debootstrap" "$work/log"; return 1; }
  # Apart, since a database would start at once otherwise. Only the core's host uses it.
  mkdir -p "$base/etc/postgresql-common"
  echo 'create_main_cluster = false' >"$base/etc/postgresql-common/createcluster.conf"
  printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
  chmod 755 "$base/usr/sbin/policy-rc.d"
  DEBIAN_FRONTEND=noninteractive chroot "$base" apt-get install -y --no-install-recommends postgresql >"$work/log" 2>&1 ||
    { fail "install Postgres in the image" "$work/log"; return 1; }
  rm "$base/usr/sbin/policy-rc.d"
  chroot "$base" systemctl disable gdnsd postgresql >/dev/null 2>&1
  # One host-key type: with several, pinning one of them fails.
  rm -f "$base"/etc/ssh/ssh_host_*
  rm -rf "$base"/var/cache/apt/archives/*.deb
  touch "$base.done"
}

# apply_artifacts: what make dist makes of this tree, as two releases that differ in
# the commit they name, and two that must not get anywhere.
apply_artifacts() {
  local repository release arch tree=$a/tree
  repository=$(git -C "$source_root" rev-parse --show-toplevel 2>/dev/null) || { skip "apply to booted machines" "this tree is not under git, so that dist cannot say which version it is"; return 1; }
  arch=$(go env GOARCH)
  git clone -q --no-hardlinks "$repository" "$tree" || { fail "clone the tree"; return 1; }
  # What is not committed yet is deployed too; dist wants a commit of it.
  git -C "$repository" ls-files -z --deleted | (cd "$tree" && xargs -0 -r rm -f)
  git -C "$repository" ls-files -z --cached --others --exclude-standard | (cd "$repository" && tar --null -T - --ignore-failed-read -cf - 2>/dev/null) | tar -C "$tree" -xf -
  for release in 1 2; do
    git -C "$tree" add -A
    git -C "$tree" -c user.name=test -c user.email=test@example.com -c commit.gpgsign=false commit -q --allow-empty -m "release $release"
    (cd "$tree" && go run ./dev/cmd/nearside-dev dist --arch "$arch" --out "$a/dist$release" --nfpm "$(command -v nfpm)" --cyclonedx-gomod "$(command -v cyclonedx-gomod)") >"$work/log" 2>&1 ||
      { fail "apply: make dist" "$work/log"; return 1; }
    (cd "$a/dist$release" && sha256sum -c --quiet SHA256SUMS) >"$work/log" 2>&1 || { fail "apply: the sums of make dist" "$work/log"; return 1; }
    for role in core edge; do
      cp "$a/dist$release"/nearside-"${role}"_*_linux_"$arch".tar.gz "$a/artifacts/nearside-$role-$release.tar.gz"
      grep -F "nearside-${role}_" "$a/dist$release/SHA256SUMS" | grep -F "linux_$arch.tar.gz" | cut -d' ' -f1 >"$a/artifacts/nearside-$role-$release.sum"
    done
  done
  # Release 3 was cut off when it was made, and its sum is of that.
  mkdir -p "$a/cut"
  unpack "$a/artifacts/nearside-edge-2.tar.gz" "$a/cut"
  truncate -s 1M "$a/cut/nearside-edge"
  tar -C "$a/cut" -czf "$a/artifacts/nearside-edge-3.tar.gz" nearside-edge
  sha256sum "$a/artifacts/nearside-edge-3.tar.gz" | cut -d' ' -f1 >"$a/artifacts/nearside-edge-3.sum"
  # Release 4 is release 2 whose bytes are not those that were summed.
  cp "$a/artifacts/nearside-edge-2.tar.gz" "$a/artifacts/nearside-edge-4.tar.gz"
  cp "$a/artifacts/nearside-core-2.sum" "$a/artifacts/nearside-edge-4.sum"
  # The operator's own copy of the program, for the authority.
  mkdir -p "$a/operator"
  unpack "$a/artifacts/nearside-core-1.tar.gz" "$a/operator"
  pass "apply: make dist, twice, and its sums"
}

# unpack TARBALL DIR: the program in a release.
unpack() { tar -C "$2" --strip-components=1 -xzf "$1"; }

apply_cleanup() {
  local pid dir
  for pid in "${machines[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${machines[@]}"; do wait "$pid" 2>/dev/null; done
  for dir in "$a"/machines/*/; do umount "$dir" 2>/dev/null; done
  ip netns list | cut -d' ' -f1 | grep "^$net-" | while read -r ns; do ip netns del "$ns"; done
  machines=() net=""
}

# machine NAME ADDRESS: boots one.
machine() {
  local name=$1 address=$2 dir=$a/machines/$1 layer=$a/layers/$1
  mkdir -p "$dir" "$layer/upper/srv" "$layer/work"
  ln "$a"/artifacts/*.tar.gz "$layer/upper/srv/" 2>/dev/null || cp "$a"/artifacts/*.tar.gz "$layer/upper/srv/"
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$layer/upper,workdir=$layer/work" "$dir" || { fail "mount $name"; return 1; }
  mkdir -p "$dir/root/.ssh" "$dir/var/lib/nearside-geo"
  ssh-keygen -q -t ed25519 -N '' -f "$dir/etc/ssh/ssh_host_ed25519_key"
  install -m 0600 "$a/key.pub" "$dir/root/.ssh/authorized_keys"
  echo "$name" >"$dir/etc/hostname"
  printf '127.0.0.1 localhost %s\n10.99.0.10 core.ads.test\n' "$name" >"$dir/etc/hosts"
  tr -d - </proc/sys/kernel/random/uuid >"$dir/etc/machine-id"
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

artifact() { echo "{\"url\": \"file:///srv/$1-$2.tar.gz\", \"sha256\": \"$(cat "$a/artifacts/$1-$2.sum")\"}"; }

# host ADDRESS NAME: one entry of a hosts map.
host() {
  local key
  key=$(cut -d' ' -f1,2 "$a/machines/$2/etc/ssh/ssh_host_ed25519_key.pub")
  echo "{ address = \"10.99.0.$1\", host_key = \"$key\", private_key_path = \"$a/key\", ipv4 = \"10.99.0.$1\" }"
}

# fleet NEXT THROUGH: live/fleet.json.
fleet() {
  cat >"$l/fleet.json" <<JSON
{"core": {"endpoint": "https://core.ads.test:8081", "ca": $(python3 -c 'import json, sys; print(json.dumps(open(sys.argv[1]).read()))' "$a/ca/ca.pem"), "artifact": $(artifact nearside-core 1)},
 "release": {"current": $(artifact nearside-edge 1), "next": $1, "through_wave": $2}, "drained": [],
 "regions": {"eu-west": {"lat": 53.35, "lon": -6.26, "wave": 0, "capacity": {"min": 2, "max": 2}},
             "us-east": {"lat": 39.04, "lon": -77.49, "wave": 1, "capacity": {"min": 1, "max": 1}}}}
JSON
}

# readers_certificate NAME: what readers see: NAME.pem of key and certificate,
# NAME.crt of what a reader believes.
readers_certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$1" -addext 'subjectAltName=DNS:server.ads.test,DNS:eu-west.ads.test,DNS:us-east.ads.test' \
    -keyout "$a/$1.key" -out "$a/$1.crt" 2>/dev/null && cat "$a/$1.key" "$a/$1.crt" >"$a/$1.pem"
}

# secret FILE: notes a line of a secret that must turn up in no state or plan.
secret() { sed -n "${2:-1}p" "$1" >>"$a/secrets"; }

# get PATH, post PATH: the admin API.
get() { home curl -sf -m 10 -H "Authorization: Bearer $admin" "http://10.99.0.10:8080$1"; }
post() { home curl -sf -m 10 -X POST -H "Authorization: Bearer $admin" -H 'Content-Type: application/json' -d "${2:-{\}}" "http://10.99.0.10:8080$1"; }
# said PATH EXPRESSION: whether the answer r makes a Python expression true.
said() { get "$1" | python3 -c 'import json, sys; r = json.load(sys.stdin); sys.exit(not eval(sys.argv[1]))' "$2"; }
# holder NODE: number of the newest holder of a node.
holder() { get /v1/edges | python3 -c 'import json, sys; r = json.load(sys.stdin); print(max(n["holder"] for e in r["items"] for n in e["nodes"] if n["node"] == sys.argv[1]))' "$1"; }
node_is() { said "/v1/holders/$1" "r['state'] == '$2'"; }

# decide SUBNET: a reader there asks the geo name for an ad and sees it; prints the
# region that the view went to.
decide() {
  local address answer view name
  address=$(home dig +short +time=2 +tries=2 @10.99.0.5 server.ads.test A "+subnet=$1" | head -1)
  answer=$(home curl -s -m 10 --cacert "$a/readers.crt" --resolve "server.ads.test:443:$address" -A "$chrome" \
    "https://server.ads.test/api/v1/decision/?publisher=booted&div_ids=ad&ad_types=text-v1&url=https%3A%2F%2Fdocs.example.com%2Fpage")
  view=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["view_url"])' <<<"$answer") || { echo "at $address: $answer" >&2; return 1; }
  name=$(cut -d/ -f3 <<<"$view")
  home curl -sf -m 10 -o /dev/null --cacert "$a/readers.crt" --resolve "$name:443:$address" -A "$chrome" "$view" || { echo "view at $address: $view" >&2; return 1; }
  echo "${name%.ads.test}"
}
# shows SUBNET REGION TIMES: so many ads are decided and seen there.
shows() {
  local i got
  for ((i = 0; i < $3; i++)); do
    got=$(decide "$1") && [ "$got" = "$2" ] || { echo "decided by: $got"; return 1; }
  done
}
# reported EU US: the views in the core's report, by region.
reported() { said "/v1/reports/delivery?flight=booted&group_by=region" "{i['region']: i['views'] for i in r['items'] if i['views']} == {k: v for k, v in {'eu-west': $1, 'us-east': $2}.items() if v}"; }

apply_drill() {
  local i
  chrome='Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36'
  "$work/world" mmdb "$a/city.mmdb" && readers_certificate readers && readers_certificate renewed || { fail "make what the machines are given"; return; }
  machine core 10.99.0.10; machine eu1 10.99.0.21; machine eu2 10.99.0.22; machine us1 10.99.0.31; machine ns1 10.99.0.5; machine ns2 10.99.0.6
  for i in 10 21 22 31 5 6; do
    eventually 120 on "$i" systemctl is-system-running --wait || { fail "machine $i boots" "$a/core.log"; return; }
  done

  # live/ and modules/ as an operator has them; the authority is made where they are.
  mkdir -p "$a/repo"
  cp -r "$root/live" "$root/modules" "$a/repo/"
  l=$a/repo/live
  "$a/operator/nearside-core" ca init --tls-dir "$a/ca" >"$work/log" 2>&1 || { fail "apply: nearside-core ca init" "$work/log"; return; }
  echo db-hunter2-secret >"$a/secrets"
  secret "$a/ca/ca.key" 2
  secret "$a/readers.key" 2
  secret "$a/renewed.key" 2
  fleet null -1
  cat >"$l/ssh/core/terraform.tfvars" <<HCL
dns_name       = "core.ads.test"
secret_version = 1
secret_names   = ["settings", "ca.pem", "ca.key"]
hosts          = { core-1 = $(host 10 core) }
ca             = <<PEM
$(cat "$a/ca/ca.pem")
PEM
HCL
  region_file() { printf 'dns_name = "%s.ads.test"\ntoken_version = 1\ndrain_seconds = 60\ntls = true\ncertificate_ref = "file:///etc/nearside/secrets/public.pem"\ncertificate_version = %s\n%s\nhosts = {\n%s\n}\n' "$1" "$2" "$3" "$4" >"$l/ssh/region/$1.tfvars"; }
  eu_hosts="  eu-west-1 = $(host 21 eu1)
  eu-west-2 = $(host 22 eu2)"
  gossip='gossip_key_ref = "file:///etc/nearside/secrets/gossip-key"'
  region_file eu-west 1 "$gossip" "$eu_hosts"
  region_file us-east 1 "" "  us-east-1 = $(host 31 us1)"
  printf 'zone = "ads.test"\nhostmaster = "hostmaster.ads.test"\nservers = {\n  ns1 = %s\n  ns2 = %s\n}\n' "$(host 5 ns1)" "$(host 6 ns2)" >"$l/ssh/geo-dns/terraform.tfvars"
  printf '#!/bin/bash\nexec nsenter --net=/run/netns/%s-home terraform "$@"\n' "$net" >"$a/terraform"
  chmod +x "$a/terraform"
  TF_VAR_secrets=$(python3 -c 'import json, sys; print(json.dumps({"settings": "database-url: postgres://nearside:db-hunter2-secret@127.0.0.1:5432/nearside", "ca.pem": open(sys.argv[1] + "/ca.pem").read(), "ca.key": open(sys.argv[1] + "/ca.key").read()}))' "$a/ca")
  TF_VAR_certificate=$(cat "$a/readers.pem")
  export TF_VAR_secrets TF_VAR_certificate
  region() { env TERRAFORM="$a/terraform" REGION_WAIT=1 "$l/region" "$@" -auto-approve; }
  core_root() { (cd "$l/ssh/core" && "$a/terraform" init -backend-config="path=$l/states/core.tfstate" && "$a/terraform" "$@"); }
  core_says() { on 10 "/opt/nearside/core/current/nearside-core $* --config /etc/nearside/credentials/settings"; }
  ask() { home dig +short +time=1 +tries=1 @10.99.0.5 "$@" | sort | tr '\n' ' '; }
  told() { [ "$(ask server.ads.test A "+subnet=$1")" = "$2" ]; }
  # runs ADDRESS RELEASE: the process that runs there is of that release.
  runs() { on "$1" 'readlink /proc/$(systemctl show -p MainPID --value nearside-edge)/exe' | grep -qF "$(cat "$a/artifacts/nearside-edge-$2.sum")"; }
  pid_of() { on "$1" systemctl show -p MainPID --value nearside-edge; }
  # kill_edge ADDRESS: as a machine's memory ends it, and systemd does not bring it back.
  kill_edge() {
    on "$1" 'mkdir -p /run/systemd/system/nearside-edge.service.d && printf "[Service]\nRestart=no\n" >/run/systemd/system/nearside-edge.service.d/dead.conf &&
      systemctl daemon-reload && kill -9 "$(systemctl show -p MainPID --value nearside-edge)"'
  }
  let_start() { on "$1" 'rm -r /run/systemd/system/nearside-edge.service.d && systemctl daemon-reload'; }
  ready() { home curl -sf -m 2 -o /dev/null "http://10.99.0.$1/readyz"; }
  shown() { home openssl s_client -connect "10.99.0.$1:443" -servername server.ads.test </dev/null 2>/dev/null | openssl x509 -noout -subject | grep -qE "CN ?= ?$2"; }
  local berlin=198.51.100.0/24 york=192.0.2.0/24 mumbai=203.0.113.0/24 eu="10.99.0.21 10.99.0.22 " us="10.99.0.31 "

  # The database is the operator's; it runs on the core's host.
  check "apply: a Postgres for the core" on 10 'set -e
    pg_createcluster --locale C.UTF-8 -e UTF8 "$(ls /usr/lib/postgresql)" main --start
    cd / && runuser -u postgres -- psql -q -c "CREATE ROLE nearside LOGIN PASSWORD '"'db-hunter2-secret'"'" -c "CREATE DATABASE nearside OWNER nearside"'
  check "apply: a core" core_root apply -auto-approve
  check "apply: … it runs as nobody's user, and has migrated the database" on 10 '
    [ "$(stat -c %U /proc/$(systemctl show -p MainPID --value nearside-core))" != root ] &&
    cd / && [ "$(runuser -u postgres -- psql -tAc "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('"'pg_catalog', 'information_schema'"')" nearside)" -gt 20 ]'
  check "apply: … its sync port speaks TLS by the authority, and no plain HTTP" bash -c "$(declare -f home); net=$net
    home curl -s -m 5 -o /dev/null --cacert '$a/ca/ca.pem' --resolve core.nearside.internal:8081:10.99.0.10 https://core.nearside.internal:8081/ && ! home curl -sf -m 5 -o /dev/null http://10.99.0.10:8081/readyz"
  admin=$(core_says token create --role admin) && [ -n "$admin" ] || { fail "apply: an admin token"; return; }
  echo "$admin" >>"$a/secrets"
  python3 - >"$a/catalog.json" <<'PY'
import datetime, json
day = lambda n: (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=n)).date().isoformat()
print(json.dumps({
    "ad_types": [{"slug": "text-v1", "name": "Text", "has_text": True}],
    "advertisers": [{"slug": "acme", "name": "Acme"}],
    "publisher_groups": [{"slug": "booted", "name": "Booted"}],
    "publishers": [{"slug": "booted", "name": "Booted", "groups": ["booted"], "unauthed_ad_decisions": True, "allow_paid_campaigns": True, "cache_ads": False}],
    "campaigns": [{"slug": "booted", "name": "Booted", "advertiser": "acme", "campaign_type": "paid", "publisher_groups": ["booted"]}],
    "flights": [{"slug": "booted", "name": "Booted", "campaign": "booted", "live": True, "start_date": day(-1), "end_date": day(30), "pacing": "asap", "cpm_micros": 2000000, "sold_views": 10000}],
    "ads": [{"slug": "booted", "name": "Booted", "flight": "booted", "ad_types": ["text-v1"], "headline": "It boots", "link": "https://www.example.com/", "live": True}]}))
PY
  check "apply: a flight is sold" bash -c "$(declare -f on home core_says); net=$net a=$a; on 10 'cat >/root/catalog.json' <'$a/catalog.json' && core_says import /root/catalog.json"

  # A region: its join token from the core, its gossip keys on its hosts, one command.
  token() { core_says join-token create --name "$1" --region "$1" --expires 24h; }
  TF_VAR_join_token=$(token eu-west) && [ -n "$TF_VAR_join_token" ] || { fail "apply: a join token"; return; }
  export TF_VAR_join_token
  echo "$TF_VAR_join_token" >>"$a/secrets"
  head -c 32 /dev/urandom | base64 >"$a/gossip-key"
  secret "$a/gossip-key"
  for i in 21 22; do on "$i" 'install -d -m 0700 /etc/nearside/secrets && umask 077 && cat >/etc/nearside/secrets/gossip-key' <"$a/gossip-key"; done
  check "apply: region open eu-west" region open ssh eu-west
  check "apply: … both nodes run release 1 and are ready" eval 'runs 21 1 && runs 22 1 && ready 21 && ready 22'
  TF_VAR_join_token=$(token us-east)
  echo "$TF_VAR_join_token" >>"$a/secrets"
  us_token=$TF_VAR_join_token
  check "apply: region open us-east" region open ssh us-east
  check "apply: … and it runs, ready" eval 'runs 31 1 && ready 31'
  check "apply: the core knows three nodes, each by its own certificate" bash -c "$(declare -f on home core_says); net=$net a=$a; core_says ca list --tls-dir /etc/nearside/credentials | grep -cE '(eu-west-1|eu-west-2|us-east-1).* open ' | grep -qx 3"
  check "apply: a second apply finds nothing to do" bash -c "cd '$l/ssh/region' && TF_DATA_DIR='$l/ssh/region/.terraform/us-east' '$a/terraform' plan -detailed-exitcode -var name=us-east -var-file=us-east.tfvars"

  check "apply: a reader in Berlin is sent to eu-west" eventually 30 told "$berlin" "$eu"
  check "apply: a reader in New York is sent to us-east" told "$york" "$us"
  check "apply: a reader in Mumbai is sent to eu-west" told "$mumbai" "$eu"
  check "apply: Berlin, New York and Mumbai get ads over https from there, and see them" eval 'eventually 60 shows "$berlin" eu-west 1 && eventually 60 shows "$york" us-east 1 && shows "$berlin" eu-west 5 && shows "$york" us-east 3 && shows "$mumbai" eu-west 2'
  # Tries that were answered before the first lease came count what they saw, too.
  check "apply: the views are in the core's report, by region" eventually 60 reported 8 4

  check "apply: secrets are root's, but for the readers' certificate, which the unit's group may read" bash -c "$(declare -f on home); net=$net a=$a
    on 21 'stat -c \"%a %U %G\" /etc/nearside/credentials /etc/nearside/credentials/join-token /etc/nearside/secrets /etc/nearside/secrets/public.pem /etc/nearside/tls/public.pem' | tr '\n' ' ' | grep -qx '700 root root 600 root root 700 root root 600 root root 640 root nearside-tls '"
  check "apply: … also from a unit with a user namespace of its own" on 21 'systemd-run --quiet --wait -p DynamicUser=yes -p PrivateUsers=yes -p SupplementaryGroups=nearside-tls -p ProtectSystem=strict grep -q "PRIVATE KEY" /etc/nearside/tls/public.pem &&
    ! systemd-run --quiet --wait -p DynamicUser=yes grep -q "PRIVATE KEY" /etc/nearside/tls/public.pem'
  check "apply: systemd scores the running unit as the file said" on 21 'systemd-analyze security --threshold=20 nearside-edge.service >/dev/null'
  check "apply: the sandbox refuses nothing that the programs mind" bash -c "$(declare -f on home); net=$net a=$a
    for i in 10 21 22 31; do ! on \$i 'journalctl -u nearside-edge -u nearside-core --no-pager' | grep -iE 'operation not permitted|permission denied|read-only file system|bad system call' || exit 1; done"

  # The readers' certificate is renewed under running edges.
  local was
  was=$(pid_of 21)
  TF_VAR_certificate=$(cat "$a/renewed.pem")
  region_file eu-west 2 "$gossip" "$eu_hosts"
  check "apply: a renewed certificate is laid by an apply" eval 'shown 21 readers && TF_VAR_join_token=again region open ssh eu-west'
  check "apply: … readers see it, and no edge was restarted" eval 'eventually 20 shown 21 renewed && eventually 20 shown 22 renewed && [ "$(pid_of 21)" = "$was" ]'
  on 31 'install -m 0600 /dev/stdin /etc/nearside/secrets/public.pem' <"$a/renewed.key"
  refuse "apply: a key without a certificate is refused" 'expected a private key and its certificate chain' on 31 /usr/local/lib/nearside/nearside-certificate
  on 31 'install -m 0600 /dev/stdin /etc/nearside/secrets/public.pem' <"$a/renewed.pem"
  check "apply: … and the one from before stays, until the node looks again" eval 'shown 31 readers && on 31 systemctl start nearside-certificate.service && eventually 20 shown 31 renewed'
  cp "$a/renewed.crt" "$a/readers.crt"

  # An edge is killed, and comes back from its own disk; a region is cut off.
  was=$(holder us-east-1)
  kill_edge 31
  check "apply: us-east's edge is killed: New York is sent to eu-west" eventually 30 told "$york" "$eu"
  check "apply: … and gets its ads there" shows "$york" eu-west 2
  let_start 31
  on 31 systemctl start nearside-edge
  check "apply: … and back, with the holder it had" eval 'eventually 60 told "$york" "$us" && [ "$(holder us-east-1)" = "$was" ] && node_is "$was" open'
  ip -n "$net-home" link set us1 down
  check "apply: us-east is cut off: New York is sent to eu-west" eventually 30 told "$york" "$eu"
  ip -n "$net-home" link set us1 up
  check "apply: … and back" eval 'eventually 60 told "$york" "$us" && eventually 60 shows "$york" us-east 1'

  # Releases: two that are not what they should be, then a good one, by waves.
  fleet "$(artifact nearside-edge 4)" 0
  refuse "apply: a release whose bytes are not those of its sum is refused" 'sha256 of .* expected .* refused' region open ssh eu-west
  check "apply: … and nothing is touched" eval '[ -n "$(pid_of 21)" ] && runs 21 1 && ready 21'
  fleet "$(artifact nearside-edge 3)" 0
  refuse "apply: a release that cannot run fails the canary's apply" 'did not become ready.*rolled back' region open ssh eu-west
  check "apply: … its first node is back on release 1, ready" eval 'runs 21 1 && ready 21'
  check "apply: … the second was not touched" eval 'runs 22 1 && on 22 "! ls /opt/nearside/edge/releases | grep -q $(cat "$a/artifacts/nearside-edge-3.sum")"'
  fleet "$(artifact nearside-edge 2)" -1
  check "apply: region rollout 0" env "$l/region" rollout 0
  check "apply: a good release" region open ssh eu-west
  check "apply: … on both nodes of the canary, whose former holders are closed" eval 'runs 21 2 && runs 22 2 && said /v1/holders "all(i[\"state\"] == \"open\" for i in r[\"items\"])"'
  check "apply: … the other wave's apply changes nothing" eval 'TF_VAR_join_token=$us_token region open ssh us-east && runs 31 1'
  local right=$l/ssh/region/us-east.tfvars
  cp "$right" "$a/us-east.right"
  sed -i "s/host_key = \"ssh-ed25519 [^\"]*\"/host_key = \"$(cut -d' ' -f1,2 "$a/key.pub" | sed 's/[/&]/\\&/g')\"/" "$right"
  check "apply: region rollout 1" env "$l/region" rollout 1
  refuse "apply: a host with another key is not trusted" 'key mismatch' timeout 200 bash -c "$(declare -f region); a=$a l=$l; region open ssh us-east"
  cp "$a/us-east.right" "$right"
  check "apply: … with the right one the next wave gets the release" eval 'TF_VAR_join_token=$us_token region open ssh us-east && runs 31 2 && ready 31'
  check "apply: ads go on" eval 'eventually 60 shows "$berlin" eu-west 1 && eventually 60 shows "$york" us-east 1'

  check "apply: region drain us-east" region drain us-east
  check "apply: … New York is sent to eu-west, though us-east is ready" eval 'eventually 30 told "$york" "$eu" && ready 31'
  check "apply: … and its own name stays" test "$(ask us-east.ads.test A)" = "$us"
  check "apply: region undrain us-east" region undrain us-east
  check "apply: … and back" eventually 30 told "$york" "$us"

  was=$(holder us-east-1)
  check "apply: before it is removed, us-east holds views" eventually 30 said /v1/flights/booted/leases "any(i['region'] == 'us-east' and i['available'] > 0 for i in r['items'])"
  check "apply: region remove us-east" region remove ssh us-east
  check "apply: … its holder is closed, and what it held is back" eval 'node_is "$was" closed && said /v1/flights/booted/leases "all(i[\"available\"] == 0 for i in r[\"items\"] if i[\"region\"] == \"us-east\")"'
  check "apply: … nothing of it is left running or lying around" on 31 "! pgrep nearside && ! ls -d /opt/nearside /etc/nearside /usr/local/lib/nearside /etc/systemd/system/nearside-* && ! systemctl list-timers --all | grep nearside"
  check "apply: … its name is gone, and New York is served by eu-west" eval 'eventually 30 eval "[ -z \"\$(ask us-east.ads.test A)\" ]" && shows "$york" eu-west 1'

  eu_destroy() { (cd "$l/ssh/region" && TF_DATA_DIR=$l/ssh/region/.terraform/eu-west "$a/terraform" destroy -auto-approve -var name=eu-west -var-file=eu-west.tfvars); }
  local one two
  one=$(holder eu-west-1) two=$(holder eu-west-2)
  kill_edge 21
  refuse "apply: destroying a node whose edge was killed fails" 'not drained.*fenced; its money stays set aside.*exited with status 5' eu_destroy
  check "apply: … its holder is fenced at the core, its files are there" eval 'node_is "$one" fenced && on 21 ls -d /etc/nearside'
  check "apply: … the other node drained: its holder is closed" eval 'node_is "$two" closed && on 22 "! ls -d /etc/nearside"'
  check "apply: … until somebody has seen to it" eval 'post "/v1/holders/$one/close" "{\"reason\": \"its machine goes\"}" && on 21 touch /etc/nearside/abandoned && eu_destroy'
  check "apply: nothing is held any more" said /v1/flights/booted/leases 'all(i["available"] == 0 for i in r["items"])'
  check "apply: the books agree" core_says reconcile
  check "apply: destroy the core" core_root destroy -auto-approve
  check "apply: … nothing of it is left" on 10 "! pgrep nearside && ! ls -d /opt/nearside /etc/nearside /etc/systemd/system/nearside-*"
  check "apply: no secret is in any state, plan or setting of Terraform's" bash -c "
    [ \"\$(grep -c . '$a/secrets')\" -ge 8 ] && grep -qFf '$a/secrets' '$a/ca/ca.key' && ! grep -rlFf '$a/secrets' '$l' && ls '$l'/states/*.tfstate | grep -c . | grep -qx 4"
}
