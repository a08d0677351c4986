"""Reduces what `terraform providers schema -json` says to the types that are asked for
and to what the stub provider reads.

    terraform providers schema -json | reduce.py PROVIDER VERSION FILE_OF_TYPES
"""

import json
import sys

provider, version, wanted = sys.argv[1:]
(schemas,) = json.load(sys.stdin)["provider_schemas"].values()


def block(b):
    attributes = {
        name: {k: a[k] for k in ("type", "required", "optional", "computed", "write_only") if a.get(k)}
        for name, a in sorted(b.get("attributes", {}).items())
    }
    blocks = {
        name: {"nesting_mode": n["nesting_mode"], "block": block(n["block"])}
        | {k: n[k] for k in ("min_items", "max_items") if n.get(k)}
        for name, n in sorted(b.get("block_types", {}).items())
    }
    return {"attributes": attributes, "block_types": blocks}


def schema(s):
    return {"version": s["version"], "block": block(s["block"])}


types = open(wanted).read().split()
json.dump(
    {
        "provider": provider,
        "version": version,
        "provider_schema": schema(schemas["provider"]),
        "resource_schemas": {t: schema(schemas["resource_schemas"][t]) for t in types if not t.startswith("data.")},
        "data_source_schemas": {t[5:]: schema(schemas["data_source_schemas"][t[5:]]) for t in types if t.startswith("data.")},
    },
    sys.stdout,
    indent=1,
)
print()
