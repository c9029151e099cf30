"""Names that strangers give cannot leave the folder that they are for. Archives: `tests/data/test_unpack.py`."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from components.core.errors import ConfigError, WeightsError
from components.core.integrity import find_damage, write_hashes
from components.data.addresses import file_name, is_safe_member
from components.data.hub.config import place_of
from components.data.sources import SourceConfig
from components.models.pretrained.files import INDEX, find_weights, weight_files
from components.models.tokenizer import load_tokenizer
from components.tracking.config import TrackingConfig
from pipelines.config import load_config

OUTSIDE = ("../secret", "/etc/passwd", "a/../../secret", "..", ".", "", "a\0b", "a\\..\\secret", "./../secret")


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_of_archives_and_files_of_the_hub(name: str) -> None:
    assert not is_safe_member(name)
    with pytest.raises(ValidationError, match="member"):
        SourceConfig(url="data.zip", member=name)
    if "\\" not in name and name not in ("", "."):
        address = f"hf://owner/name/{name}"
        assert place_of(address) is None or not is_safe_member(f"/{name}")


@pytest.mark.parametrize("name", ["..%2Fsecret", "..", "a%00b", "a%5Cb", "%2e%2e"])
def test_names_at_the_end_of_addresses(name: str) -> None:
    assert file_name(f"https://host/folder/{name}") is None


@pytest.mark.parametrize("name", OUTSIDE)
def test_files_that_an_index_of_weights_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"weights")
    (folder := tmp_path / "model").mkdir()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(WeightsError, match="lacks"):
        weight_files(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_files_in_packages(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no|not installed"):
        find_weights(f"package:json/{name}", tmp_path, None)


@pytest.mark.parametrize("name", ["sample://../../core/errors.py", "sample:///etc/passwd", "sample://a\\b"])
def test_samples(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="sample://"):
        SourceConfig(url=name)
    with pytest.raises(WeightsError):
        load_tokenizer(f"{name}.tiktoken")


@pytest.mark.parametrize("name", ["../x", "a/b", "models:/x"])
def test_registered_models(name: str) -> None:
    with pytest.raises(ValidationError, match="model_name"):
        TrackingConfig(model_name=name)


@pytest.mark.parametrize("name", ["../x", "/x", "a\\b", "a b", "a\n"])
def test_presets(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        load_config("spam-demo", [f"name={json.dumps(name)}"])


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_hashes_of_a_logged_model_speak_of_its_files_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (model := tmp_path / "model").mkdir()
    write_hashes(model)
    (model / "hashes.json").write_text(json.dumps({name: "0" * 64}))
    assert find_damage(model) == "hashes.json has changed"


@pytest.mark.parametrize("written", ["5", "[[1, 2]]", "[" * 5000, "null", '"a"'])
def test_hashes_that_are_none(written: str, tmp_path: Path) -> None:
    (tmp_path / "hashes.json").write_text(written)
    assert find_damage(tmp_path) == "hashes.json has changed"
