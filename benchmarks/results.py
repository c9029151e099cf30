"""What fine-tuning gives: run presets and what they are measured beside, and draw `docs/results.md`.

    python -m benchmarks.results [PRESET...] [--seeds 3]

What is on file (`results/<preset>.json`) is not run again; `gradus run` takes finished steps from its store, and a
training that was stopped goes on. So a call that was killed is simply made again.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.quality.outcomes import OURS, Outcomes
from benchmarks.quality.page import page
from benchmarks.quality.peers import peers_of, run_peer
from benchmarks.quality.product import Failed, run_preset
from components.core.errors import ConfigError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/results.md"
PRESETS = ("instruct-smollm2", "banking77", "spam-smollm2", "korean-topics", "korean-chat")
Contestant = Literal["gradus", "untouched", "3-shot", "transformers"]
SEEDS, FIRST_SEED = 3, 123
"""How many seeds, and the first of them: the default of `train.seed`."""
DATA = ROOT.parent / "shared/data"


def main(
    presets: Annotated[list[str] | None, typer.Argument(help=f"Which; if none, {', '.join(PRESETS)}.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds of the training.")] = SEEDS,
    only: Annotated[Contestant | None, typer.Option(help="One contestant alone.")] = None,
    draw: Annotated[bool, typer.Option(help="Run nothing: draw the page from what is on file.")] = False,
) -> None:
    """Run presets with some seeds, then their peers, and write the page after each; what fails is said and left out."""
    set_places()
    if not draw:
        for preset in presets or PRESETS:
            try:
                run(preset, seeds, only)
            except ConfigError as error:
                print(f"results: {error}", file=sys.stderr)
    write_page(seeds)


def set_places() -> None:
    """Give runs a home of their own, and the folder with data beside the checkout, unless others are set."""
    os.environ.setdefault("GRADUS_HOME", str(ROOT / "build/results"))
    if DATA.is_dir():
        os.environ.setdefault("GRADUS_MIRROR", str(DATA))
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(DATA / "tiktoken-cache"))


def run(preset: str, seeds: int, only: str | None = None) -> None:
    """Run a preset and its peers as far as they are not on file, seed by seed; each is filed when it is done."""
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for who in contestants(preset):
            filed = Outcomes.of(preset)
            if only in {None, who} and not (filed and filed.has(who, seed)):
                attempt(preset, who, seed)
                write_page(seeds)


def attempt(preset: str, who: str, seed: int) -> None:
    """Run one thing and file it; where it fails say why, and leave it out."""
    try:
        file(run_preset(preset, seed) if who == OURS else run_peer(preset, who, seed))
    except Failed as error:
        print(f"results: {preset}: {who}, seed {seed} is left out: {error}", file=sys.stderr)


def contestants(preset: str) -> list[str]:
    """Return who there is of a preset: our run, then its peers.

    Raises:
        ConfigError: if there is no such preset.
    """
    return [OURS, *peers_of(preset)]


def file(found: Outcomes) -> None:
    """Put outcomes beside those on file.

    Raises:
        Failed: if they were tested on other rows.
    """
    filed = Outcomes.of(found.preset) or found
    if filed.rows != found.rows:
        raise Failed(f"other test rows than on file: remove benchmarks/results/{found.preset}.json, and run all again")
    filed.add(found.outcomes)
    filed.write()


def write_page(seeds: int) -> None:
    """Draw the page from what is on file."""
    found = [each for preset in PRESETS if (each := Outcomes.of(preset))]
    numbers = range(FIRST_SEED, FIRST_SEED + seeds)
    wanted = {each.preset: dict.fromkeys(contestants(each.preset), numbers) for each in found}
    PAGE.write_text(page(found, wanted, [each for each in PRESETS if each not in wanted]))


if __name__ == "__main__":
    typer.run(main)
