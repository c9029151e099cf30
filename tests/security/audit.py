"""Look the pinned packages up among known vulnerabilities: `python -m tests.security.audit PIP_AUDIT CONSTRAINTS`.

Says in one line what came of it, also that nothing did: `pip-audit` itself calls what it could not look up no problem.
"""

import json
import subprocess
import sys
from typing import Any

CLEAN, FOUND, UNKNOWN = 0, 1, 2
"""Exit codes: none of the packages is known to be vulnerable, some are, or that is not known."""


def main(command: str, constraints: str) -> int:
    """Print a line for each vulnerability, and one about all packages; return the exit code."""
    asked = [command, "--requirement", constraints, "--no-deps", "--disable-pip", "--progress-spinner=off"]
    done = subprocess.run([*asked, "--timeout=20", "--format=json"], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        say(f"audit: nothing is known of {constraints}: {why[:300]}; connect to the network and try again")
        return UNKNOWN
    found = [(each, fault) for each in packages for fault in each.get("vulns", ())]
    for package, fault in found:
        mended = ", ".join(fault["fix_versions"]) or "no version"
        say(f"{package['name']} {package['version']}: {fault['id']}, mended in {mended}")
    unknown = [each for each in packages if "skip_reason" in each]
    if unknown:
        reason = str(unknown[0]["skip_reason"])
        say(f"audit: {len(unknown)} of {len(packages)} packages could not be looked up, the first: {reason[:300]}")
        return FOUND if found else UNKNOWN
    say(f"audit: {len(packages)} packages, known vulnerabilities: {len(found)}")
    return FOUND if found else CLEAN


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
