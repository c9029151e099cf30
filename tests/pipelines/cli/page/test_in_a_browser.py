"""`gradus ui` in a real headless Chromium that reaches nothing but this machine."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from components.tracking.ratings import MODEL, read_ratings
from tests.browser import CHROMIUM, Browser, browser
from tests.patience import PATIENCE
from tests.pipelines import commands
from tests.pipelines.answered_runs import ROWS, answered_run
from tests.pipelines.labelled_runs import labelled_run
from tests.pipelines.written_runs import written_run

ROOT = Path(__file__).parents[4]
needs_gradio = pytest.mark.skipif(not find_spec("gradio"), reason="the extra `ui` is not installed")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium; .ci/apt.txt names Debian's")
PASSWORD = "a-password-of-26-characters"


@contextmanager
def page(home: Path, *arguments: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start `gradus ui` on a free port, and wait until it says where it is."""
    command = [sys.executable, "-c", "from pipelines.cli.start import main; main()", "ui", "--port=0", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "GRADUS_HOME": str(home), **environment}
    process = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        said = process.stderr.readline()
        found = re.search(r"the page is at (\S+);", said)
        assert found, said + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def opened(shown: Browser, tab: str) -> None:
    """Open a tab, and wait until it is the chosen one."""
    shown.click('button[role="tab"]', tab)
    shown.wait_for(f"""document.querySelector('[role="tab"][aria-selected="true"]')?.innerText.trim() === "{tab}" """)


def filled_in(shown: Browser, tab: str) -> None:
    """Open a tab, and wait until something is chosen in its list."""
    opened(shown, tab)
    shown.wait_for("[...document.querySelectorAll('input')].some(each => each.checkVisibility() && each.value !== '')")


@pytest.fixture
def filled(isolated: Path, saved_model: Path, saved_language_model: Path, tmp_path: Path) -> tuple[Path, str]:
    """A home with a classifier and its champion, a language model, and a run with responses; and the last one's id."""
    first, _ = (labelled_run(isolated, tmp_path, saved_model, "spam", wrong) for wrong in (30, 5))
    assert commands.gradus("promote", first, "--force", "--reason", "a trial").returncode == 0
    written_run(isolated, saved_language_model, "writer")
    return isolated, answered_run(isolated, tmp_path / "answered", 40)


@pytest.mark.ci
@needs_gradio
@needs_chromium
def test_every_tab_does_what_it_is_for(filled: tuple[Path, str], tmp_path: Path) -> None:
    home, run = filled
    with page(home) as (process, address), browser(tmp_path / "chromium", address) as shown:
        shown.click_until("#runs .cell-wrap", run[:8], "#run dd", run)
        opened(shown, "Models")
        shown.click_until("#models .cell-wrap", "spam", "#model td", "a trial")
        filled_in(shown, "Compare")
        shown.click("button.primary", "Compare")
        shown.find("#comparison iframe")
        filled_in(shown, "Classify")
        shown.wait_for("[...document.querySelectorAll('input')].some(each => each.value.startsWith('spam · champion'))")
        shown.click("button.primary", "Classify")
        shown.find(".toast-message-text", "type a message first")
        shown.type("textarea", "You have won a prize")
        shown.click("button.primary", "Classify")
        shown.find("#words span", "prize")
        assert re.match(r"Label\s+(ham|spam)", shown.text("#label"))
        filled_in(shown, "Respond")
        shown.type("textarea", "Say hello")
        shown.click("button", "Ask all three")
        shown.wait_for("document.querySelector('#candidate textarea').value.length > 1")
        shown.wait_for("document.querySelector('#base textarea').value.includes('random weights')")
        assert "gradus promote" in shown.evaluate("document.querySelector('#champion textarea').value")
        rate_one(shown)
        [rating] = read_ratings(run, home, MODEL)
        assert rating.value in (25, 100)
        elsewhere = [each for each in shown.requested if not each.startswith((address, "data:", "blob:", "about:"))]
        assert (elsewhere, shown.failures) == ([], [])
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "gradus: ending\n")


def rate_one(shown: Browser) -> None:
    """Rate one entry blind, and see whose the responses were."""
    filled_in(shown, "Rate")
    shown.wait_for("document.querySelector('#by textarea, #by input').value !== ''")
    shown.click("button.primary", "Begin")
    shown.find("#asked", "Say the number")
    assert "before training" not in shown.text("body"), "whose it is must not show before it is rated"
    shown.click("button.primary", "Keep")
    shown.find(".toast-message-text", "rate each response first")
    shown.click("#rating-A label", "poor")
    shown.click("#rating-B label", "right")
    shown.click("button.primary", "Keep")
    shown.find("#revealed li", "A was run")
    shown.find("p", f"1 of {ROWS} entries")


@pytest.mark.slow
@needs_gradio
@needs_chromium
def test_a_home_without_a_run_says_what_to_do_next(isolated: Path, tmp_path: Path) -> None:
    with page(isolated) as (process, address), browser(tmp_path / "chromium", address) as shown:
        for tab in ("Runs", "Models", "Compare", "Classify", "Respond", "Rate"):
            opened(shown, tab)
            shown.find("div.note code", "gradus run")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "gradus: ending\n")


@pytest.mark.slow
@needs_gradio
def test_who_has_no_password_or_asks_by_another_name_sees_nothing(isolated: Path) -> None:
    with page(isolated, GRADUS_UI_PASSWORD=PASSWORD) as (process, address):
        with httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE) as client:
            assert client.get("/config").status_code == 401
            assert client.post("/login", data={"username": "anna", "password": "wrong"}).status_code == 400
            assert client.post("/login", data={"username": "anna", "password": PASSWORD}).status_code == 200
            assert client.get("/config").status_code == 200
            assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
            assert client.get("/", headers={"Origin": "http://elsewhere.example"}).status_code == 403
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert PASSWORD not in said
