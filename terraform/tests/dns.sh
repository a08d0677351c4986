# The self-hosted geo DNS, run for real: sourced by run.sh.

section_dns() {
  local d=$work/dns geo=$root/modules/geo-dns-gdnsd health dns
  mkdir -p "$d/www" "$d/render"
  "$work/world" mmdb "$d/city.mmdb" || { fail "make an MMDB"; return; }
  health=$(free_port) dns=$(free_port)
  # Three regions on three loopback addresses.
  cat >"$d/regions.json" <<JSON
{
  "us-east": {"name": "us-east", "lat": 39.04, "lon": -77.49, "ipv4": ["127.0.0.11"], "ipv6": ["2001:db8:ffff::1"],
    "dns_name": "us-east.ads.example.net", "health_url": "http://us-east.ads.example.net:$health/readyz"},
  "eu-west": {"name": "eu-west", "lat": 53.35, "lon": -6.26, "ipv4": ["127.0.0.12"], "ipv6": [],
    "dns_name": "eu-west.ads.example.net", "health_url": "http://eu-west.ads.example.net:$health/readyz"},
  "ap-south": {"name": "ap-south", "lat": 19.08, "lon": 72.88, "ipv4": ["127.0.0.13"], "ipv6": [],
    "dns_name": "ap-south.ads.example.net", "health_url": "http://ap-south.ads.example.net:$health/readyz"}
}
JSON
  terraform -chdir="$geo" init >"$work/log" 2>&1 || { fail "gdnsd: init" "$work/log"; return; }
  check "gdnsd: render" render "$d/all" '[]'
  check "gdnsd: render with a drained region" render "$d/drained" '["eu-west"]'

  if ! have gdnsd || ! have dig; then
    skip "gdnsd: checkconf, answers, failover" "gdnsd or dig is not installed (Debian: gdnsd, bind9-dnsutils)"
    return
  fi

  check "gdnsd: takes the configuration" gdnsd -c "$d/all" -S checkconf
  # The node-side script, with the real gdnsd as judge.
  deploy() { env GDNSD_ETC="$d/etc" GDNSD_STATE="$d/state" INSTALL_SYSTEMCTL=/bin/true "$geo/files/deploy" "$1"; }
  mkdir -p "$d/run"
  check "gdnsd: deploy" deploy "$d/all"
  [ -f "$d/etc/config" ] || return
  cp -r "$d/all" "$d/broken"
  sed -i 's/127.0.0.12/127.0.0.1299/' "$d/broken/config"
  refuse "gdnsd: deploy refuses what gdnsd refuses" '127.0.0.1299.*nothing was changed' deploy "$d/broken"
  check "gdnsd: … and leaves the one before in place" cmp "$d/all/config" "$d/etc/config"
  printf 'server A 192.0.2.1\nserver CNAME x\n' >>"$d/broken/zones/ads.example.net"
  cp "$d/all/config" "$d/broken/config"
  refuse "gdnsd: deploy refuses a broken zone" 'zone.*nothing was changed' deploy "$d/broken"

  # Cold start with one region down: nothing wrong may ever be answered.
  echo 503 >"$d/www/127.0.0.12_$health.status"
  start_world "$d/www" "127.0.0.11:$health" "127.0.0.12:$health" "127.0.0.13:$health"
  gdnsd -c "$d/etc" start >"$d/gdnsd.log" 2>&1 &
  pids+=($!)
  query() { dig +short +time=1 +tries=1 -p "$dns" @127.0.0.1 "$@" 2>/dev/null; }
  from() { query server.ads.example.net A "+subnet=$1"; }
  # nearest NETWORK ADDRESS: what a reader of that network is told.
  nearest() { [ "$(from "$1")" = "$2" ]; }
  if ! eventually 15 nearest 192.0.2.0/24 127.0.0.11; then fail "gdnsd: answers" "$d/gdnsd.log"; return; fi
  check "gdnsd: cold start: a region that is not ready is never answered" nearest 198.51.100.0/24 127.0.0.13
  rm "$d/www/127.0.0.12_$health.status"
  local began=$SECONDS
  check "gdnsd: … and comes when it is ready" eventually 15 nearest 198.51.100.0/24 127.0.0.12
  echo "      recovery within $((SECONDS - began + 1)) s"

  local reader
  for reader in \
    "New_York 192.0.2.0/24 127.0.0.11" "Berlin 198.51.100.0/24 127.0.0.12" "Mumbai 203.0.113.0/24 127.0.0.13" "Sao_Paulo 198.18.0.0/16 127.0.0.11" \
    "Montreal_(IPv6) 2001:db8:1::/48 127.0.0.11" "Paris_(IPv6) 2001:db8:2::/48 127.0.0.12" "Colombo_(IPv6) 2001:db8:3::/48 127.0.0.13"; do
    # shellcheck disable=SC2086
    set -- $reader
    check "gdnsd: a reader in ${1//_/ } is sent to the nearest region" nearest "$2" "$3"
  done
  check "gdnsd: AAAA where the nearest region has it" test "$(query server.ads.example.net AAAA +subnet=192.0.2.0/24)" = 2001:db8:ffff::1
  check "gdnsd: the answer's TTL is at most 30 s" bash -c "[ \"\$(dig -p $dns @127.0.0.1 server.ads.example.net A +noall +answer | awk '{ print \$2 }')\" -le 30 ]"
  check "gdnsd: the answer holds for the reader's network only" bash -c "dig -p $dns @127.0.0.1 server.ads.example.net A +subnet=192.0.2.0/24 | grep -qE 'CLIENT-SUBNET: 192.0.2.0/24/([1-9]|[12][0-9]|3[0-2])'"
  check "gdnsd: a region's own name" test "$(query eu-west.ads.example.net A)" = 127.0.0.12
  check "gdnsd: NS and SOA" bash -c "[ \"\$(dig +short -p $dns @127.0.0.1 ads.example.net NS | sort | tr '\n' ' ')\" = 'ns1.ads.example.net. ns2.ads.example.net. ' ] && dig +short -p $dns @127.0.0.1 ads.example.net SOA | grep -q hostmaster.example.net."

  # From Berlin, Mumbai is nearer than Ashburn on the globe (6 290 km and 6 720 km);
  # from Paris it is the other way round.
  echo 503 >"$d/www/127.0.0.12_$health.status"
  began=$SECONDS
  check "gdnsd: a region that stops being ready is left, Berlin to Mumbai" eventually 15 nearest 198.51.100.0/24 127.0.0.13
  echo "      failover within $((SECONDS - began + 1)) s"
  check "gdnsd: … Paris to Ashburn" nearest 2001:db8:2::/48 127.0.0.11
  check "gdnsd: … while others stay where they are" nearest 203.0.113.0/24 127.0.0.13
  check "gdnsd: … and its own name stays" test "$(query eu-west.ads.example.net A)" = 127.0.0.12
  echo 503 >"$d/www/127.0.0.11_$health.status"
  echo 503 >"$d/www/127.0.0.13_$health.status"
  check "gdnsd: all regions unready is noticed" eventually 15 bash -c "[ \$(gdnsdctl -c '$d/etc' states | grep -cE '/ready-.*DOWN') -ge 3 ]"
  check "gdnsd: … and still answered: it fails open" bash -c "dig +short -p $dns @127.0.0.1 server.ads.example.net A +subnet=192.0.2.0/24 | grep -q '^127.0.0.1[123]$'"
  rm "$d/www"/*.status
  check "gdnsd: all ready again" eventually 15 nearest 198.51.100.0/24 127.0.0.12

  check "gdnsd: drain a region" deploy "$d/drained"
  check "gdnsd: … it gets no new readers" eventually 15 nearest 198.51.100.0/24 127.0.0.13
  check "gdnsd: … and its own name stays" test "$(query eu-west.ads.example.net A)" = 127.0.0.12
  check "gdnsd: … take it back" deploy "$d/all"
  check "gdnsd: … readers come back" eventually 15 nearest 198.51.100.0/24 127.0.0.12
}

# render DIR DRAINED: what the module would put on a name server. The test's own
# run and state directories are added, since gdnsd has no flags for them.
render() {
  local to=$1 drained=$2
  mkdir -p "$to/zones"
  cat >"$work/dns/render/vars.tfvars.json" <<JSON
{"zone": "ads.example.net", "hostmaster": "hostmaster.example.net", "mmdb_path": "$work/dns/city.mmdb", "listen": ["127.0.0.1:$dns"], "drained": $drained,
 "servers": {"ns1": {"address": "127.0.0.1", "host_key": "ssh-ed25519 AAAA", "private_key_path": "/dev/null", "ipv4": "127.0.0.1"},
             "ns2": {"address": "127.0.0.2", "host_key": "ssh-ed25519 AAAA", "private_key_path": "/dev/null", "ipv4": "127.0.0.2", "ipv6": "2001:db8::53"}},
 "regions": $(cat "$work/dns/regions.json")}
JSON
  terraform -chdir="$root/modules/geo-dns-gdnsd" plan -out="$work/dns/render/plan" -var-file="$work/dns/render/vars.tfvars.json" &&
    terraform -chdir="$root/modules/geo-dns-gdnsd" show -json "$work/dns/render/plan" | python3 -c '
import json, os, sys
to, work = sys.argv[1:]
for path, text in json.load(sys.stdin)["planned_values"]["outputs"]["files"]["value"].items():
    if path == "config":
        text = text.replace("options => {", f"options => {{ run_dir => \"{work}/run\", state_dir => \"{work}/state\"", 1)
    open(os.path.join(to, path), "w").write(text)
' "$to" "$work/dns"
}
