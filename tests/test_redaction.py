"""Secrets in texts: taken out wherever they stand, and nothing else is."""

import io
import logging

import pytest

from components.core.errors import DownloadError
from components.core.redaction import protect_logs, redact, redact_tree, remember_secret, remember_secrets


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:hunter2hunter2@host:5000/a@b?", "https://***@host:5000/a@b?"),
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
        "file:///data/a@b.csv",
        "",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert redact(text) == text


def test_secrets_of_the_environment_are_taken_out_by_the_name_of_their_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:s3cr%2Ft-pass@host")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "tiktoken-cache")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent.sock")
    monkeypatch.setenv("DEBUG_TOKEN", "on")
    said = "key sk-verysecret1, password s3cr/t-pass or s3cr%2Ft-pass, tiktoken-cache, /tmp/agent.sock, on"
    assert redact(said) == "key ***, password *** or ***, tiktoken-cache, /tmp/agent.sock, on"


def test_what_was_met_once_is_known_from_then_on() -> None:
    remember_secrets("https://bucket/a.csv?token=tok-12345678")
    remember_secret("key-of-a-variable-with-a-plain-name")
    assert redact("refused: tok-12345678 and key-of-a-variable-with-a-plain-name") == "refused: *** and ***"


def test_trees_and_errors_are_redacted() -> None:
    address = "https://me:hunter2hunter2@host/a"
    assert redact_tree({"a": [address, 1, None], address: True}) == {
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
