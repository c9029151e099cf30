from pathlib import Path

import pytest
from pydantic import ValidationError

from components.data.addresses import SAMPLES, file_name, local_path
from components.data.sources import SourceConfig


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.org/a", "ftp://; use https://"),
        ("file://folder/a", "file:///folder/name"),
        ("https:///a", "names no host"),
        ("https://example.org:port/a", "Port"),
        ("https://me:secret@example.org/a", "netrc"),
        ("http://me:hunter/two@example.org/a", "netrc"),
        ("http://me:hun?ter#two@example.org/a", "netrc"),
        ("sample://../sources.py", "the name of a file that Gradus ships"),
        ("sample://", "the name of a file that Gradus ships"),
        ("runs:/nobody/a.csv", "names no file of a run"),
        (f"runs:/{'0' * 32}/../a.csv", "names no file of a run"),
        (" ", "empty"),
    ],
)
def test_a_bad_url_is_refused_when_it_is_read(url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SourceConfig(url=url)


@pytest.mark.parametrize(
    "options",
    [
        {"sha256": "abc"},
        {"member": "../a"},
        {"member": "/a"},
        {"member": ""},
        {"max_bytes": 0},
        {"timeout": 0},
        {"attempts": 0},
        {"format": "xls"},
        {"columns": {"text": -1}},
        {"columns": {"text": True}},
        {"columns": {"words": "a"}},
        {"columns": {}},
        {"columns": {"text": "a", "label": "a"}},
        {"header": False},
        {"unknown": 1},
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SourceConfig.model_validate({"url": "https://example.org/a", **options})


def test_what_a_url_means() -> None:
    assert local_path("sample://a.csv") == SAMPLES / "a.csv"
    assert local_path("file:///a%20b/c.csv") == Path("/a b/c.csv")
    assert local_path("HTTPS://example.org/c.csv") is None
    assert file_name("https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip") == (
        "sms+spam+collection.zip"
    )
    assert file_name("/data/50%25.csv") == "50%25.csv"
    assert file_name("file:///data/50%25.csv") == "50%.csv"
