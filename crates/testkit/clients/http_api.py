"""schemathesis against the gateway: every route of docs/openapi.json, with requests that the document allows and requests
that it forbids. `cargo xtask test` names the gateway in the environment.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

GATEWAY = os.environ["CORRAL_GATEWAY_URL"]
DOCUMENT = pathlib.Path(__file__).parents[3] / "docs/openapi.json"
# Requests for each route, besides those for each keyword of its schema.
EXAMPLES = "15"
UNFIT = [
    "ignored_auth",  # Without a login, an unknown cookie is a new user.
    "unsupported_method",  # The page's files answer below the same paths.
    "positive_data_acceptance",  # An id of the right form names nothing that exists.
]


def cookie():
    """What makes all requests come from one user."""
    with urllib.request.urlopen(f"{GATEWAY}/api/v1/me") as response:
        return response.headers["Set-Cookie"].split(";")[0]


with tempfile.TemporaryDirectory() as folder:  # It keeps its examples in the current one.
    command = [
        pathlib.Path(sys.executable).with_name("schemathesis"), "run", DOCUMENT, "--url", GATEWAY,
        "--header", f"Cookie: {cookie()}", "--exclude-checks", ",".join(UNFIT),
        "--max-examples", EXAMPLES, "--seed", "1", "--request-timeout", "60", "--no-color",
    ]
    sys.exit(subprocess.run(command, cwd=folder).returncode)
