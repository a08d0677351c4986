"""Every variable has a type and a description, every output a description."""

import pathlib
import re
import sys

bad = []
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.tf")):
    text = path.read_text()
    for kind, name, body in re.findall(r'^(variable|output) "([^"]+)" \{\n(.*?)^\}', text, re.M | re.S):
        for need in ("type", "description") if kind == "variable" else ("description",):
            if not re.search(rf"^  {need}\s*=", body, re.M):
                bad.append(f"{path}: {kind} {name} has no {need}")
print("\n".join(bad))
sys.exit(bool(bad))
