"""What tests share: a home of their own, no network, one Prefect server, two tiny models, the real data."""

import gc
import os
import random
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import patience
from tests.prefect_server import address_of_server
from tests.shared import copy_database, made_once, shared_folder

# Two processes run the tests on two cores, and every one of them starts others. Networks this small gain nothing from a
# second thread, and lose much by waiting for one that has no core. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test depends on speed: a busy machine is slow, and what takes long there is no fault. Nor on chance: examples are
# the same each time, or somebody's change is refused for what another one has left. New ones are drawn with
# `--hypothesis-profile=explore`.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("patient", settings.get_profile("explore"), derandomize=True)
settings.load_profile("patient")

SHARED = Path(__file__).parents[1].parent / "shared/data"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while modules are imported: there is hardly any, and the search takes a seventh of that.

    Nor is it looked for, afterwards, again and again among what all modules hold.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes minutes first, and mark what `make test` leaves out, or `make test-unit`: servers, processes."""
    items.sort(key=lambda item: not item.get_closest_marker("minutes"))
    servers = {"prefect_server", "mlflow_server", "ollama"}
    starters = {"subprocess", "Server", "serve"}
    begun = set()
    for item in items:
        case_of = item.path, getattr(item, "originalname", item.name)
        if item.get_closest_marker("one_case") and case_of in begun:
            item.add_marker("ci")
        begun.add(case_of)
        if item.get_closest_marker("ci"):
            item.add_marker("slow")
        names = set(getattr(item, "fixturenames", ())), set(vars(getattr(item, "module", item)))
        if servers & names[0] or starters & names[1]:
            item.add_marker("process")


@pytest.fixture(scope="session", autouse=True)
def _home_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is made for a module or a session, before a test has a home of its own, leaves nothing in the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADUS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home of its own, and switch off what would leave the machine."""
    home = tmp_path / "home"
    monkeypatch.setenv("GRADUS_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


@pytest.fixture(autouse=True)
def _no_stand_in() -> None:
    """Where threads load models at once, MLflow leaves its stand-in for a module, which Hypothesis stumbles over."""
    if type(sys.modules.get("dbutils")).__name__ == "MockDbutils":
        del sys.modules["dbutils"]


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """What a test draws does not depend on the tests before it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C is ignored where tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Use one real Prefect server, with a database of its own, in all of a session's processes."""
    import prefect
    from prefect.context import get_settings_context
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    folder = shared_folder(tmp_path_factory) / "prefect"
    cache = getattr(request.config, "cache", None)  # there is none where its plugin is switched off
    migrated = (cache.mkdir("prefect") if cache else folder) / f"empty-{prefect.__version__}.db"
    # The heartbeat thread sleeps for a second at the end of every flow.
    settings = {PREFECT_API_URL: address_of_server(folder, migrated), PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(settings), pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.context.GLOBAL_SETTINGS_CONTEXT", get_settings_context())  # other threads see this one
        yield
        # Now, not when Python ends: Prefect would log that it waits, to an output that pytest has closed.
        APILogWorker.drain_all()
        EventsWorker.drain_all()


@pytest.fixture(scope="session")
def copied_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have MLflow copy one database that it made for the whole session: its migrations take more than a second.

    And wait for whoever writes to one, for longer than the five seconds that SQLite does by itself.
    """
    from mlflow.store.db import utils
    from sqlalchemy import Engine, create_engine, event, inspect

    make = utils._initialize_tables

    def make_template() -> Path:
        def migrate(folder: Path) -> None:
            make(create_engine(f"sqlite:///{folder / 'mlflow.db'}"))

        return made_once(tmp_path_factory, "mlflow database", migrate)

    def copy(engine: Engine) -> None:
        if engine.dialect.name != "sqlite" or inspect(engine).get_table_names():
            make(engine)
            return
        copy_database(make_template() / "mlflow.db", Path(str(engine.url.database)))

    def wait_longer(dialect: Any, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        if dialect.name == "sqlite":
            options.setdefault("timeout", patience.LOCKED)

    event.listen(Engine, "do_connect", wait_longer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copy)
        yield
    event.remove(Engine, "do_connect", wait_longer)


@pytest.fixture
def patient_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store counts as away only where it says so, or nothing listens: on a busy machine one that runs is slow."""
    from components.tracking import stores

    for name in ("QUICK", "REACH_TIMEOUT"):
        monkeypatch.setattr(stores, name, patience.PATIENCE)


@pytest.fixture(scope="session")
def _running_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.tracking.mlflow_server import MlflowServer

    running = MlflowServer(tmp_path_factory.mktemp("server"))
    try:
        running.start()
        yield running.uri
    finally:
        running.stop()


@pytest.fixture
def mlflow_server(_running_mlflow: str, patient_tracking: None) -> str:
    """The address of a real MLflow server that keeps runs, artifacts and the registry."""
    return _running_mlflow


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier with a byte vocabulary and random weights."""
    from components.models.classifier import Classifier
    from components.models.config import GPTSize
    from components.models.gpt2 import GPT2
    from components.models.saved.classifier import save_classifier
    from tests.byte_tokenizer import VOCABULARY, byte_tokenizer

    folder = tmp_path_factory.mktemp("trained") / "model"
    folder.mkdir()
    transformer = GPT2(GPTSize(layers=1, heads=2, width=16, context=32), VOCABULARY)
    transformer.initialise(seed=0)
    model = Classifier(transformer, 2)
    save_classifier(folder, model, byte_tokenizer(), ["ham", "spam"], max_length=32)
    return folder


@pytest.fixture(scope="session")
def saved_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model with a byte vocabulary and random weights."""
    from components.models.config import GPTSize
    from components.models.gpt2 import GPT2
    from components.models.language_model import LanguageModel
    from components.models.saved.language_model import save_gpt
    from components.prompts import TEMPLATES
    from tests.byte_tokenizer import VOCABULARY, byte_tokenizer

    folder = tmp_path_factory.mktemp("language model") / "model"
    folder.mkdir()
    model = LanguageModel(GPT2(GPTSize(layers=1, heads=2, width=16, context=256), VOCABULARY))
    model.initialise(seed=0)
    save_gpt(folder, model, byte_tokenizer(), TEMPLATES["alpaca"])
    return folder


@pytest.fixture(scope="session")
def saved_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model with the vocabulary of the sample data and random weights."""
    from tests.serving.models import save_language_model

    return save_language_model(tmp_path_factory.mktemp("tuned") / "model")
