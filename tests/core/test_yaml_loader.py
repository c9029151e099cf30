import io
import time

import pytest
import yaml

from components.core.yaml_loader import MOST_BYTES, InvalidYAML, load_yaml, read_yaml
from tests.yaml_bomb import BOMB

MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{p: *{before}, q: *{before}, <<: [*{before}, *{before}]}}\n"
    for before, name in zip("abcdefghijklmnopqrstuvw", "bcdefghijklmnopqrstuvwx", strict=True)
)


def refused(text: str) -> str:
    started = time.process_time()
    with pytest.raises(InvalidYAML) as caught:
        load_yaml(text)
    assert time.process_time() - started < 10, "of the processor's time; it takes far less than one"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("bomb", [BOMB, BOMB.replace("\n", "\n\n"), MERGES])
def test_aliases_that_multiply_are_refused(bomb: str) -> None:
    assert len(bomb) < 2000
    assert "more than 20,000 values, counting what each alias stands for (line" in refused(bomb)


@pytest.mark.ci
@pytest.mark.parametrize(
    "text", ["[" * 10_000, "- " * 5000, "{a: " * 5000, "".join(" " * i + "a:\n" for i in range(900))]
)
def test_what_is_nested_deeply_is_refused(text: str) -> None:
    assert "nested deeper than 50 levels" in refused(text)


@pytest.mark.ci
def test_what_is_long_is_refused() -> None:
    assert "more than 20,000 values" in refused("[" + "a," * 200_000 + "]")
    assert "larger than 1 MiB" in refused("a" * (MOST_BYTES + 1))
    with pytest.raises(InvalidYAML, match="larger than 1 MiB"):
        read_yaml(io.BytesIO(b"\xff" * (MOST_BYTES + 1)))


@pytest.mark.one_case
@pytest.mark.parametrize("number", ["1" * 5000, "1" + ":59" * 100_000, "0." + "1" * 5000, "0x" + "f" * 5000])
def test_numbers_without_end_are_refused(number: str) -> None:
    assert "a number has more than 100 characters (line 1" in refused(f"a: {number}")


@pytest.mark.parametrize(("number", "told"), [("010", "octal"), ("-07_1", "octal"), ("1:30", "of base 60")])
def test_numbers_that_are_not_what_they_look_like_are_refused(number: str, told: str) -> None:
    assert f"{number} is {told} in YAML; write it in decimals" in refused(f"a: {number}")
    assert load_yaml(f"[0, -10, 1_000, 0x10, 0.5, '{number}', 1:x]") == [0, -10, 1000, 16, 0.5, number, "1:x"]


def test_an_alias_inside_of_itself_is_refused() -> None:
    assert "*a stands inside of what it stands for (line 1" in refused("a: &a [*a]")
    assert "stands inside" in refused("&a {b: {c: *a}}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' is there twice, first in line 1 (line 3, column 1)"),
        ("train:\n  epochs: 1\n  'epochs': 2\n", "the key 'epochs' is there twice, first in line 2 (line 3, column 3)"),
        ("{x: 1, x: 2}", "the key 'x' is there twice, first in line 1 (line 1, column 8)"),
        ("1: a\n0x1: b", "the key 1 is there twice"),
        ("? a\n: 1\n? a\n: 2", "the key 'a' is there twice, first in line 1 (line 3"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_line(text: str, told: str) -> None:
    assert told in refused(text)


def test_what_merges_and_aliases_are_for_is_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: &c {<<: *a, y: 4}\nd: {<<: [*c, *a], x: 5}\ne: [*a, *a]\n"
    assert load_yaml(text) == yaml.safe_load(text)
    assert load_yaml(text)["b"] == {"x": 3, "y": 2}
    assert load_yaml("{1: a, '1': b}") == {1: "a", "1": "b"}


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\t- x", "a: 2026-13-41", "a: !!python/object:os.system x", "*a", "\0"]
)
def test_what_is_no_yaml_is_one_line(text: str) -> None:
    refused(text)


@pytest.mark.ci
def test_files() -> None:
    assert read_yaml(io.BytesIO("\ufeffa: ü".encode())) == {"a": "ü"}
    assert read_yaml(io.BytesIO(b"")) is None
    with pytest.raises(InvalidYAML, match=r"not UTF-8: .* at byte 3"):
        read_yaml(io.BytesIO(b"a: \xff"))
    many = {"labels": [f"label {number}" for number in range(5000)]}
    assert load_yaml(yaml.safe_dump(many)) == many
