"""How a block becomes a step: a Prefect task, cached by content, whose result is checked before it is believed."""

import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, cast

from prefect import State, Task, get_run_logger
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger
from pydantic import BaseModel

from components.core.errors import GradusError
from components.core.home import home
from components.core.interruptions import interruptions_held_back
from components.core.process_memory import give_freed_back
from components.core.records import Facts, Manifest, fingerprint
from components.core.redaction import EXACT, protect_logs, redact
from components.core.room import out_of_memory_as_a_line
from components.core.sharing.remote import remote
from components.core.store import Store
from components.core.versions import library_versions, source_version

P = ParamSpec("P")
Write = Callable[Concatenate[Path, P], Facts]
Identity = Callable[[Mapping[str, Any]], Any]

called: ContextVar[Callable[[str], None]] = ContextVar("called", default=lambda _: None)
"""Is told of every step that is called in this context, as `STEP/KEY` of the store, before it runs."""
FEWER_ROWS = "lower source.limit, which is the number of rows that are read"
"""What to do about too little memory where nothing better is known."""
RESULTS = "results"
"""Folder under the home in which Prefect keeps the manifests it caches."""


class Step(Generic[P]):
    """A block that writes files, as a cached Prefect task: call it like the block, get a manifest.

    The cache key is a hash of the step's sources and of the versions of the libraries that they import
    (`components.core.versions`), the digests of the manifests it is given, and its other arguments. Prefect keeps the
    manifest under that key, in this flow run and the next; the store says first whether the files are there, every one
    with its hash, and if not Prefect is told to run the step again.
    """

    def __init__(
        self,
        write: Write[P],
        sources: tuple[str, ...],
        identity: Identity,
        unkeyed: tuple[str, ...],
        out_of_memory: str,
        **options: Any,
    ) -> None:
        self.name = write.__name__
        self.__doc__ = write.__doc__
        self._write: Callable[..., Facts] = write
        self._sources = sources
        self._identity = identity
        self._unkeyed = unkeyed
        self._out_of_memory = out_of_memory
        parameters = list(inspect.signature(write).parameters.values())[1:]
        self.__signature__ = inspect.Signature(parameters, return_annotation=Manifest)
        self.task: Task[Any, Manifest] = Task(
            self._produce,
            name=self.name,
            description=inspect.getdoc(write),
            cache_policy=CacheKeyFnPolicy(cache_key_fn=lambda _, parameters: f"{self.name}-{parameters['key']}"),
            persist_result=True,
            result_serializer="json",
            **options,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Manifest:
        """Run the step, or take its manifest from the cache; `cached` on the manifest says which."""
        protect_logs()
        arguments, key, found = self._look_up(*args, **kwargs)
        called.get()(f"{self.name}/{key}")
        (home() / RESULTS).mkdir(parents=True, exist_ok=True)
        runnable = self.task.with_options(result_storage=home() / RESULTS, refresh_cache=found is None)
        state = cast(State[Manifest], runnable(key=key, arguments=arguments, return_state=True))
        manifest = state.result()
        # Where the store has it, nothing was done anew, whether or not Prefect still had a record of it.
        # So it is as well where another run was computing it, and this one waited (`_produce`).
        manifest = (found or manifest).model_copy(update={"cached": found is not None or manifest.cached})
        _store().share(manifest)
        run_logger().info(_summary(manifest))
        for note in manifest.facts.get("notes", ()):
            run_logger().warning(f"{manifest.step}: {note}")
        return manifest

    def without_prefect(self, *args: P.args, **kwargs: P.kwargs) -> Manifest:
        """Do the same with the store alone: no server, no retries, no timeout.

        What is found or written there is what a run with these arguments takes.
        """
        arguments, key, found = self._look_up(*args, **kwargs)
        return found.model_copy(update={"cached": True}) if found else self._produce(key, arguments)

    def key(self, arguments: Mapping[str, Any]) -> str:
        """Return the cache key of a call with `arguments` (by name)."""
        keyed = {name: value for name, value in arguments.items() if name not in self._unkeyed}
        versions = [source_version(*self._sources), library_versions(*self._sources)]
        return fingerprint([self.name, versions, self._identity(keyed)])[:32]

    def _look_up(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], str, Manifest | None]:
        """Return the arguments of a call by name, with defaults, its key, and what the store has of it."""
        call = self.__signature__.bind(*args, **kwargs)
        call.apply_defaults()
        key = self.key(call.arguments)
        return call.arguments, key, _store().find(self.name, key)

    def _produce(self, key: str, arguments: dict[str, Any]) -> Manifest:
        wrote = False

        def write(out: Path) -> Facts:
            nonlocal wrote
            wrote = True
            with interruptions_held_back():
                for source in self._sources:
                    importlib.import_module(source)
            try:
                with out_of_memory_as_a_line(self.name, self._out_of_memory):
                    return self._write(out, **arguments)
            except Exception as error:  # Prefect keeps the text of what ends a step
                if not isinstance(error, GradusError) and redact(str(error)) != str(error):
                    raise GradusError(f"{type(error).__name__}: {error}") from None
                raise
            finally:
                give_freed_back()  # as the network of a training: the next step loads one of its own

        manifest = _store().produce(self.name, key, write)
        return manifest.model_copy(update={"cached": not wrote})


def step(
    *sources: str,
    timeout_seconds: float,
    identity: Identity | None = None,
    unkeyed: tuple[str, ...] = (),
    out_of_memory: str = FEWER_ROWS,
    **options: Any,
) -> Callable[[Write[P]], Step[P]]:
    """Turn a function `(out, ...) -> Facts` into a `Step`.

    `sources` are the modules whose source closure is the step's version; `identity` maps the arguments to what
    the key depends on, where that is not simply the arguments; `unkeyed` names arguments that change nothing
    in the result, such as where to log; `out_of_memory` says which keys to lower where there is too little memory.
    Other options go to Prefect's `task`.
    """
    options["timeout_seconds"] = timeout_seconds
    return lambda write: Step(write, sources, identity or identify, unkeyed, out_of_memory, **options)


def identify(value: Any) -> Any:
    """Reduce arguments to what they are by content: a manifest to its digest, a config to its values."""
    if isinstance(value, Manifest):
        return value.digest
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", context=EXACT)
    if isinstance(value, Mapping):
        return {name: identify(item) for name, item in value.items()}
    return value


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Return the logger of the flow or task that runs, or a plain one outside of any."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("gradus")


def _store() -> Store:
    return Store(home() / "store", remote())


def _summary(manifest: Manifest) -> str:
    tables = {name: file.rows for name, file in manifest.files.items() if "/" not in name and file.rows is not None}
    rows = ", ".join(f"{Path(name).stem} {count:,}" for name, count in tables.items())
    what = "unchanged, taken from the store" if manifest.cached else f"done in {manifest.seconds:.1f} s"
    return f"{manifest.step}: {what}" + (f" (rows: {rows})" if rows else "")
