"""Steps: cached by content across flow runs, and never believed unchecked."""

from pathlib import Path

import psutil
import pytest
from prefect import flow

from components.core.config import Config
from components.core.errors import DataRejected
from components.core.process_memory import glibc
from components.core.records import Facts, Manifest
from components.core.steps import step

pytestmark = pytest.mark.usefixtures("prefect_server")


class Words(Config):
    text: str = "hello"


CALLS: list[str] = []


@step("components.core.store", timeout_seconds=1800, unkeyed=("note",))
def write_words(out: Path, words: Words = Words(), note: str = "") -> Facts:  # noqa: B008
    """Write a text."""
    CALLS.append(note)
    (out / "words.txt").write_text(words.text)
    return {"length": len(words.text)}


@step("components.core.store", timeout_seconds=1800)
def shout(out: Path, source: Manifest) -> Facts:
    """Write a manifest's text in capitals."""
    (out / "loud.txt").write_text(source.path("words.txt").read_text().upper())
    return {}


ON_TOP: list[bytearray] = []
SIZE = 256 << 20


@step("components.core.store", timeout_seconds=1800)
def use_memory(out: Path) -> Facts:
    """Fill memory in blocks that come from the heap, and keep a last one above them."""
    blocks = [bytearray(b"x") * (64 << 10) for _ in range(SIZE >> 16)]
    ON_TOP.append(bytearray(b"x") * (64 << 10))
    (out / "size.txt").write_text(str(len(blocks)))
    return {}


@step("components.core.store", timeout_seconds=1800)
def reject(out: Path) -> Facts:
    """Reject everything."""
    (out / "why.txt").write_text("because")
    raise DataRejected("nothing will do", evidence=out)


@flow
def two_steps(words: Words, note: str = "") -> list[Manifest]:
    first = write_words(words, note=note)
    return [first, shout(first)]


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@pytest.mark.ci
def test_a_second_flow_run_takes_both_from_the_cache() -> None:
    assert [manifest.cached for manifest in two_steps(Words())] == [False, False]
    assert [manifest.cached for manifest in two_steps(Words(), note="elsewhere")] == [True, True]
    assert len(CALLS) == 1


@pytest.mark.ci
def test_defaults_count_as_if_they_were_given() -> None:
    @flow
    def both() -> list[bool]:
        return [write_words().cached, write_words(Words()).cached, write_words(words=Words(text="hello")).cached]

    assert both() == [False, True, True]


@pytest.mark.ci
def test_another_config_is_another_key() -> None:
    assert [m.cached for m in two_steps(Words())] == [False, False]
    assert [m.cached for m in two_steps(Words(text="bye"))] == [False, False]
    assert [m.cached for m in two_steps(Words())] == [True, True]


@pytest.mark.ci
@pytest.mark.parametrize("harm", ["flip", "delete", "folder"])
def test_harm_runs_that_step_again_and_no_other(harm: str) -> None:
    path = two_steps(Words())[0].path("words.txt")
    match harm:
        case "flip":
            path.write_text("jello")
        case "delete":
            path.unlink()
        case "folder":
            path.unlink()
            (path.parent / "manifest.json").unlink()
            path.parent.rmdir()
    first, second = two_steps(Words())
    assert (first.cached, second.cached) == (False, True)
    assert first.path("words.txt").read_text() == "hello"


@pytest.mark.ci
def test_another_home_shares_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_steps(Words())
    monkeypatch.setenv("GRADUS_HOME", str(tmp_path / "other"))
    first, _ = two_steps(Words())
    assert not first.cached
    assert first.folder.is_relative_to(tmp_path / "other")


@pytest.mark.ci
def test_a_rejection_arrives_as_it_was_raised() -> None:
    @flow
    def rejecting() -> None:
        reject()

    with pytest.raises(DataRejected, match="nothing will do") as caught:
        rejecting()
    assert caught.value.evidence is not None
    assert (caught.value.evidence / "why.txt").read_text() == "because"


def test_a_step_works_outside_of_a_flow() -> None:
    assert write_words().facts == {"length": 5}


def test_a_step_looks_like_its_block() -> None:
    assert write_words.name == "write_words"
    assert write_words.__doc__ == "Write a text."
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrods'"):
        write_words(wrods=Words())  # type: ignore[call-arg]


@pytest.mark.skipif(glibc() is None, reason="the C library is not glibc")
def test_what_a_step_has_freed_is_gone_before_the_next() -> None:
    before = psutil.Process().memory_info().rss
    use_memory.without_prefect()
    assert ON_TOP
    assert psutil.Process().memory_info().rss - before < SIZE / 4
