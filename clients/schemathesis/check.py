"""Schemathesis over our own description: requests that keep to it and that do not, always with the key.

What comes back must never be a failure of the server, and must be as described. `MINUTES` says for how long requests
are made up; without it a fixed few are. Everything that made a check fail is printed, with the request to repeat it.
"""

import os
import subprocess
import sys
from pathlib import Path

from checks import KEY, URL, check, run

HERE = Path(__file__).parent
MINUTES = float(os.environ.get("MINUTES") or 0)
# Few and the same each time, so that this ends in a minute; or as many as there is time for.
SHORT = ["--phases=fuzzing", "--max-examples=4", "--generation-deterministic"]
LONG = ["--phases=examples,coverage,fuzzing,stateful", f"--max-time={MINUTES * 60:.0f}"]


@check
def no_answer_is_a_failure_or_other_than_described():
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")),
        *("run", URL.removesuffix("/v1") + "/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--no-color", "--continue-on-failure", "--request-timeout=120", "--suppress-health-check=all"),
        "--wait-for-schema=60",  # made at the first request: longer than it waits for one on a busy machine
        *(LONG if MINUTES else SHORT),
    ]
    told = {**os.environ, "SCHEMATHESIS_HOOKS": "known", "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ['PYTHONPATH']}"}
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    print(done.stdout, file=sys.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


run()
