"""Which files of a data set hold which split: as its card declares it, or as the files' names say.

The same rules as the library `datasets` has, for files that can be read without code of the data set:
https://huggingface.co/docs/hub/datasets-file-names-and-splits, .../datasets-manual-configuration
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from components.core.errors import ConfigError
from components.data.hub.config import HubConfig
from components.data.split.given_splits import NAMES, SPLITS

Splits = dict[str, list[str]]
"""The paths of the files of each split, by the data set's own names."""

PREFERRED = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Of files in several formats those of the first are used; the others are taken for copies."""
ABOUT = re.compile(r"(^|/)(\.|dataset_infos?\.json$|dataset_dict\.json$|state\.json$)")
"""Files that say something about the data."""
KNOWN = NAMES | dict.fromkeys(("eval", "evaluation"), SPLITS.index("test"))
"""What the hub calls splits, and their positions in `SPLITS`."""
SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(KNOWN, key=len, reverse=True))})(?![a-z])")


def find_splits(files: Sequence[str], declared: Any, wanted: HubConfig, name: str) -> Splits:
    """Return the files of each split of a data set, nothing if none can be read; `declared` is `configs` of its card.

    Raises:
        ConfigError: if `wanted` names no subset, or there are several and it names none.
    """
    readable = [file for file in files if PurePosixPath(file).suffix in PREFERRED and not ABOUT.search(file)]
    subsets = {str(each["config_name"]): each for each in declared or () if "config_name" in each}
    if not subsets:
        return _by_names(_below(wanted.subset, readable, name))
    default = next((called for called, each in subsets.items() if each.get("default")), "default")
    subset = subsets[pick_subset(subsets, wanted.subset, name, default)]
    folder = str(subset.get("data_dir") or "").strip("./")
    inside = [file for file in readable if file.startswith(f"{folder}/")] if folder else readable
    if "data_files" not in subset:
        return _by_names(inside)
    patterns = {split: [f"{folder}/{each}".strip("/") for each in paths] for split, paths in _declared(subset)}
    found = {split: [file for file in inside if _matches(file, each)] for split, each in patterns.items()}
    return {split: files for split, files in found.items() if files}


def _declared(subset: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the splits that a card declares, with the patterns of their files, in any of the forms that cards have."""
    files = subset["data_files"]
    if isinstance(files, Mapping):
        files = [{"split": split, "path": paths} for split, paths in files.items()]
    elif not isinstance(files, list) or not all(isinstance(each, Mapping) for each in files):
        files = [{"split": SPLITS[0], "path": files}]
    for each in files:
        paths = each.get("path")
        yield str(each.get("split", SPLITS[0])), [str(path) for path in (paths if isinstance(paths, list) else [paths])]


def _matches(file: str, patterns: Iterable[str]) -> bool:
    """Tell whether one of the patterns means a file; only `**` crosses folders, or none."""
    return any(
        fnmatchcase(file, pattern) and ("**" in pattern or file.count("/") == pattern.count("/"))
        for each in patterns
        for pattern in (each, each.replace("**/", ""))
    )


def _below(folder: str | None, files: list[str], name: str) -> list[str]:
    """Return the files of the folder that a subset is where a card declares none."""
    inside = files if folder is None else [file for file in files if file.startswith(f"{folder}/")]
    if folder is not None and not inside:
        raise ConfigError(f"{name} declares no subsets and has no folder {folder!r}; leave source.hub.subset out")
    return inside


def find_converted(files: Sequence[str], wanted: HubConfig, name: str) -> Splits:
    """Return the files of each split on the hub's own branch of Parquet copies: `SUBSET/SPLIT/0000.parquet`.

    Raises:
        ConfigError: as `find_splits`.
    """
    copies = [parts for file in files if len(parts := file.split("/")) == 3 and file.endswith(".parquet")]
    if not copies:
        return {}
    subset = pick_subset(dict.fromkeys(parts[0] for parts in copies), wanted.subset, name)
    found: Splits = {}
    for own, split, file in sorted(copies):
        if own == subset:
            found.setdefault(split.removeprefix("partial-"), []).append(f"{own}/{split}/{file}")
    return found


def pick_subset(names: Iterable[str], wanted: str | None, data_set: str, default: str = "default") -> str:
    """Return which of a data set's subsets is used.

    Raises:
        ConfigError: if it is not there, or has to be said.
    """
    names = list(names)
    if wanted is None and len(names) > 1 and default not in names:
        raise ConfigError(f"{data_set} has the subsets {', '.join(names)}: name one in source.hub.subset")
    if wanted is not None and wanted not in names:
        raise ConfigError(f"{data_set} has no subset {wanted!r}; there are {', '.join(names)}: set source.hub.subset")
    return wanted or (default if default in names else names[0])


def as_given(found: Splits, wanted: HubConfig, name: str) -> Splits:
    """Return the files that are used, by the names of our splits; under an empty name if there is only one split.

    Raises:
        ConfigError: if the split that is wanted, or `train`, is not there.
    """
    there = ", ".join(found)
    if wanted.split is not None:
        if wanted.split not in found:
            raise ConfigError(f"{name} has no split {wanted.split!r}; there are {there}: set source.hub.split")
        return {"": found[wanted.split]}
    ours = {SPLITS[KNOWN[own]]: files for split, files in found.items() if (own := split.casefold()) in KNOWN}
    if SPLITS[0] not in ours:
        raise ConfigError(f"{name} has no split train; there are {there}: name one in source.hub.split")
    return {split: ours[split] for split in SPLITS if split in ours} if len(ours) > 1 else {"": ours[SPLITS[0]]}


def _by_names(files: Sequence[str]) -> Splits:
    """Return the files of each split as their paths name it; all are of `train` if none does."""
    suffixes = {PurePosixPath(file).suffix for file in files}
    suffix = next((each for each in PREFERRED if each in suffixes), None)
    found: Splits = {}
    alike = sorted(file for file in files if file.endswith(str(suffix)))
    for file in alike:
        if words := SPLIT_WORD.findall(file.casefold()):
            found.setdefault(SPLITS[KNOWN[words[-1]]], []).append(file)
    return found or ({SPLITS[0]: alike} if alike else {})
