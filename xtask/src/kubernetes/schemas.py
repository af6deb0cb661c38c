"""Reads manifests, checks each object against Kubernetes' own schemas, and writes what it read as JSON beside the file.

The first argument is the versions of Kubernetes, with commas; the others are YAML files. Files of Compose are only
rewritten.
"""

import json
import sys

import kubernetes_validate
import yaml

# Of custom resources there are no schemas here.
CUSTOM = ("keda.sh/", "monitoring.coreos.com/")

checked = set()
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        objects = [each for each in yaml.safe_load_all(file) if each is not None]
    with open(f"{path}.json", "w", encoding="utf-8") as file:
        json.dump(objects, file)
    for each in objects:
        text = json.dumps(each, sort_keys=True)
        if "apiVersion" not in each or each["apiVersion"].startswith(CUSTOM) or text in checked:
            continue
        checked.add(text)
        for version in sys.argv[1].split(","):
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                name = f"{each['kind']} {each['metadata']['name']}"
                sys.exit(f"{path}: {name}, Kubernetes {version}: {where}: {error.message}")
print(f"{len(checked)} objects fit the schemas of Kubernetes {sys.argv[1]}")
