"""Secrets in texts: taken out wherever they stand, and nothing else is."""

import io
import logging
from pathlib import Path

import pytest

from components.core.errors import DownloadError
from components.core.redaction import protect_logs, redact, redact_prose, remember_secret, remember_secrets


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:hunter2hunter2@host:5000/a?", "https://***@host:5000/a?"),
        ("https://me:p@ss/word@host/a", "https://***@host/a"),
        ("https://me:hunter2hunter2@host:5000/a@b?", "https://***@b?"),  # which may be a password up to there
        ("postgresql://me:pa/ssw0rd@db/mlflow is down", "postgresql://***@db/mlflow is down"),
        ("http://me:hunter/two@host/x", "http://***@host/x"),
        ("'mysql+pymysql://me:1/a'|b@db/x'", "'mysql+pymysql://***@db/x'"),
        ("mysql://me:pa?ss#w/rd@db/x is down", "mysql://*** is down"),
        ("postgresql://db:5432/mlflow?user=me&password=a@b", "postgresql://***"),
        ("https://me:pw@host/f?mail=a@b.c&token=x", "https://***"),
        ("postgresql://me:p%40ss@db/mlflow is down", "postgresql://***@db/mlflow is down"),
        ("https://ghp_abcdefgh@host/x", "https://***@host/x"),
        (
            "https://bucket/a.csv?token=abc&X-Amz-Signature=d%2Be: the server answered 403",
            "https://bucket/a.csv?token=***&X-Amz-Signature=***: the server answered 403",
        ),
        ('<a href="https://bucket/a?k=v&amp;sig=x">', '<a href="https://bucket/a?k=***&amp;sig=***">'),
        ("https://host/page#access_token=abc", "https://host/page#access_token=***"),
        ("(see https://host/a?x=1).", "(see https://host/a?x=***)."),
        ("'https://host/a?x=1'", "'https://host/a?x=***'"),
    ],
)
def test_addresses_lose_user_password_and_values_of_the_query(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert redact(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1/runs/abc?workflowType=machine_learning",
        "sqlite:////home/me@here/mlflow.db",
        "models:/spam-demo@champion",
        "runs:/0123/model",
        "mail me@host.org about a/b?c=d",
        "s3://bucket/key@2",
        "https://host:8080/a@b, or me@host",
        "file:///data/a@b.csv",
        "",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert redact(text) == text


def test_secrets_of_the_environment_are_taken_out_by_the_name_of_their_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:s3cr%2Ft-pass@host")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "tiktoken-cache")
    (tmp_path / "agent.sock").touch()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent.sock"))
    monkeypatch.setenv("SIGNING_KEY", "/Zm9vYmFyYmF6")
    monkeypatch.setenv("DEBUG_TOKEN", "on")
    said = "key sk-verysecret1, password s3cr/t-pass or s3cr%2Ft-pass, tiktoken-cache, /Zm9vYmFyYmF6, on"
    assert redact(said) == "key ***, password *** or ***, tiktoken-cache, ***, on"
    assert redact(f"no agent at {tmp_path}/agent.sock") == f"no agent at {tmp_path}/agent.sock"


def test_what_was_met_once_is_known_from_then_on() -> None:
    remember_secrets("https://bucket/a.csv?token=tok-12345678")
    remember_secret("key-of-a-variable-with-a-plain-name")
    assert redact("refused: tok-12345678 and key-of-a-variable-with-a-plain-name") == "refused: *** and ***"


def test_of_a_query_only_what_is_a_secret_is_taken_out_elsewhere() -> None:
    remember_secrets(
        "https://host/news.csv?section=business&columns=headlines-of-the-day&X-Amz-Credential=AKIAPLANTED"
        "&accessKey=planted-key-9&v=0123456789abcdefABCDEF"
    )
    said = "business, headlines-of-the-day, AKIAPLANTED, planted-key-9, 0123456789abcdefABCDEF"
    assert redact(said) == "business, headlines-of-the-day, ***, ***, ***"


def test_only_addresses_and_sentences_of_facts_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "password")
    labels = ["password", "password_reset"]
    kept = {
        "labels": labels,
        "class_counts": dict.fromkeys(labels, 3),
        "reading": {"columns": {"text": "{password}"}},
        "per_class": [{"label": "password"}],
        "path": "/data/password/a.csv",
    }
    told = {
        "url": "https://me:hunter2@host/a",
        "files": {"test": {"url": "https://host/?token=x"}},
        "warnings": ["the password is refused"],
        "unparsed": {"no password": 1},
        "source.url": "http://h/?key=k",
    }
    assert redact_prose(kept | told) == kept | {
        "url": "https://***@host/a",
        "files": {"test": {"url": "https://host/?token=***"}},
        "warnings": ["the *** is refused"],
        "unparsed": {"no ***": 1},
        "source.url": "http://h/?key=***",
    }


def test_trees_and_errors_are_redacted() -> None:
    address = "https://me:hunter2hunter2@host/a"
    assert redact_prose({"a": [address, 1, None], address: True}, prose=True) == {
        "a": ["https://***@host/a", 1, None],
        "https://***@host/a": True,
    }
    assert str(DownloadError(f"{address}: gone")) == "https://***@host/a: gone"


def test_logs_of_any_library_are_redacted_with_their_tracebacks() -> None:
    protect_logs()
    protect_logs()
    stream = io.StringIO()
    logger = logging.getLogger("some.library")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    try:
        try:
            raise ValueError("https://me:hunter2hunter2@host/a")
        except ValueError:
            logger.exception("retrying %s of %d", "https://host/b?token=abc", 3)
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue().startswith("retrying https://host/b?token=*** of 3\n")
    assert "ValueError: https://***@host/a" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        ("deprecated", (FutureWarning,), "deprecated"),
        ("%d of https://host/b?token=abc", ("many",), "%d of https://host/b?token=***"),
        ("%(name)s", ({"other": 1},), "%(name)s"),
        (Unspeakable(), (), "a Unspeakable that cannot be shown"),
    ],
)
def test_a_log_call_that_is_wrong_raises_nothing(
    message: object, arguments: tuple[object, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    protect_logs()
    logging.getLogger("some.library").warning(message, *arguments)
    assert caplog.messages == [said]


def test_what_a_formatter_reads_of_a_log_call_that_is_right_stays(caplog: pytest.LogCaptureFixture) -> None:
    protect_logs()
    logging.getLogger("some.library").warning("%s of %s", 1, 2)
    assert caplog.records[0].args == (1, 2)
