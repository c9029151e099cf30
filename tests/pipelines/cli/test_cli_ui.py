"""`gradus ui`: what cannot be is one line, before Gradio is even looked at."""

import pytest
from click.testing import Result
from typer.testing import CliRunner

from components.serving.http.server import bind
from pipelines.cli.main import app
from pipelines.cli.using import ui

PASSWORD = "a-password-of-26-characters"


def gradus(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["ui", *arguments], env={"COLUMNS": "200", **environment})


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """These errors come before Gradio is imported, and must not depend on whether it is there."""
    monkeypatch.setattr(ui, "find_spec", lambda name: name)


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "find_spec", lambda _name: None)
    done = gradus()
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'gradus[ui]'" in done.stderr


def test_a_port_in_use_is_one_line() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        done = gradus("--port", port)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"port {port}: something listens there already; choose another with --port" in done.stderr


def test_beyond_this_machine_it_wants_a_password() -> None:
    done = gradus("--host", "0.0.0.0", "--port=0")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "GRADUS_UI_PASSWORD" in done.stderr


def test_a_password_on_the_command_line_is_refused_and_not_repeated() -> None:
    done = gradus(f"--password-env={PASSWORD}")
    assert (done.exit_code, done.stderr.count("\n"), PASSWORD in done.stderr) == (2, 1, False)
    assert "takes the name of an environment variable" in done.stderr
    absent = gradus("--password-env=NO_SUCH_PASSWORD")
    assert (absent.exit_code, "which is not set" in absent.stderr) == (2, True)
