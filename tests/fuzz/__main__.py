"""Fuzz a parser with atheris, which follows its code: `python -m tests.fuzz PARSER --seconds N`.

atheris is no dependency: it gets an environment of its own, which finds the packages of this one (SECURITY.md).
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

FOUND = Path(".gradus/fuzz")
"""Where inputs are kept that nothing good came of."""
PATIENCE, MEMORY = 60, 8192
"""Seconds for one input, and MiB of memory in all."""


def main() -> None:
    """Run atheris on one parser, and say how many inputs there were."""
    import atheris

    with atheris.instrument_imports(include=["components", "pipelines", "yaml", "gguf", "json", "csv"]):
        from tests.fuzz.parsers import TARGETS

    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    arguments.add_argument("parser", choices=TARGETS)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--corpus", type=Path, help="Where inputs are kept that take a new way; else they go.")
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"
    target, began, inputs = TARGETS[given.parser], time.monotonic(), 0

    def check(data: bytes) -> None:
        nonlocal inputs
        inputs += 1
        if time.monotonic() - began > given.seconds:
            seconds = time.monotonic() - began
            sys.stdout.write(f"{given.parser}: {inputs:,} inputs in {seconds:.0f} s, nothing found\n")
            sys.stdout.flush()
            os._exit(0)
        target.check(data)

    FOUND.mkdir(parents=True, exist_ok=True)
    corpus = given.corpus or Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-timeout={PATIENCE}", f"-rss_limit_mb={MEMORY}", "-max_len=40000", "-verbosity=0"]
    os.environ["GRADUS_HOME"] = tempfile.mkdtemp()
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={FOUND / given.parser}-", str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
