# The one-command open, drain and remove, with a terraform that only writes down
# what it was asked: sourced by run.sh. ssh.sh does the same with the real one.

section_live() {
  local l=$work/live
  cp -r "$root/live" "$l"
  cp "$l/fleet.example.json" "$l/fleet.json"
  echo >"$l/ssh/region/eu-west.tfvars"
  cat >"$work/terraform-says" <<SH
#!/bin/bash
[ "\$2" = init ] && exit 0
echo "\${1#-chdir=$l/} \$2 \${*:3}" >>"$work/said"
[ -e "$work/fails-\$2" ] && exit 1
[ "\$2" = output ] && echo '{"name": "eu-west"}'
[ "\$1 \$2" = "-chdir=$l/ssh/geo-dns apply" ] && echo "  drained=\$(python3 -c 'import json; print(*json.load(open("$l/fleet.json"))["drained"])') regions=\$(ls "$l/regions" | tr '\n' ' ')" >>"$work/said"
exit 0
SH
  chmod +x "$work/terraform-says"
  pretend() { : >"$work/said"; env TERRAFORM="$work/terraform-says" REGION_LIVE="$l" REGION_WAIT=0 "$l/region" "$@"; }
  called() { diff <(cat) "$work/said"; }

  check "region open" pretend open ssh eu-west -auto-approve
  check "region open: the region, then the geo DNS that knows it" called <<'SAID'
ssh/region apply -var name=eu-west -var-file=eu-west.tfvars -auto-approve
ssh/region output -json region
ssh/geo-dns apply -auto-approve
  drained= regions=eu-west.json 
SAID
  check "region drain" pretend drain eu-west
  check "region drain: only the geo DNS" called <<'SAID'
ssh/geo-dns apply 
  drained=eu-west regions=eu-west.json 
SAID
  check "region undrain" pretend undrain eu-west
  check "region undrain: readers again" called <<'SAID'
ssh/geo-dns apply 
  drained= regions=eu-west.json 
SAID
  touch "$work/fails-destroy"
  status "region remove: a node that does not drain stops it" 1 pretend remove ssh eu-west
  check "region remove: … and the region stays known, drained" bash -c "[ -f '$l/regions/eu-west.json' ] && grep -A1 drained '$l/fleet.json' | grep -q eu-west"
  rm "$work/fails-destroy"
  check "region remove" pretend remove ssh eu-west
  check "region remove: drain, destroy, and its names last" called <<'SAID'
ssh/geo-dns apply 
  drained=eu-west regions=eu-west.json 
ssh/region destroy -var name=eu-west -var-file=eu-west.tfvars
ssh/geo-dns apply 
  drained= regions=
SAID
  refuse "region: an unknown region" 'mars is not a region' pretend open ssh mars
  refuse "region: an unknown cloud" 'expected aws, azure or ssh' pretend open gcp eu-west
  refuse "region: a region without its settings" 'us-east.tfvars is missing' pretend open ssh us-east
  refuse "region: a rollout of nothing" 'release.next .* is not set' pretend rollout 0
  python3 - "$l/fleet.json" <<'PY'
import json, sys
fleet = json.load(open(sys.argv[1]))
fleet["release"]["next"] = {"url": "https://downloads.example.net/2.tar.gz", "sha256": "2" * 64}
json.dump(fleet, open(sys.argv[1], "w"))
PY
  check "region rollout" pretend rollout 1
  check "region rollout: the wave is in the fleet" bash -c "grep -q '\"through_wave\": 1' '$l/fleet.json'"
  check "region promote" pretend promote
  check "region promote: next is current" python3 -c '
import json, sys
release = json.load(open(sys.argv[1]))["release"]
assert release["current"]["sha256"] == "2" * 64 and release["next"] is None and release["through_wave"] == -1, release' "$l/fleet.json"
}
