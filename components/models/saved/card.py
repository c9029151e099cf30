"""The card of a saved model: what `model.json` in its folder holds, and which kind of model it says the folder is."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from components.core.config import Config
from components.core.errors import WeightsError
from components.core.yaml_loader import load_json

CARD_FILE = "model.json"
INSIDE = "artifacts/*"
"""Where a logged model holds the saved model; the folder's name is the one it had when it was logged."""

CLASSIFIER, LANGUAGE_MODEL = "classifier", "language model"
USES = {
    CLASSIFIER: "it labels texts (`gradus predict`) and writes none",
    LANGUAGE_MODEL: "it answers instructions (`gradus respond`) and has no labels",
}
"""What a saved model of each kind is for."""

Card = TypeVar("Card", bound=Config)


def find_saved(folder: Path) -> Path | None:
    """Return the saved model in a folder, which is that folder or, in a logged model, one within; None without one."""
    return next((found for found in (folder, *folder.glob(INSIDE)) if (found / CARD_FILE).is_file()), None)


def kind_of(folder: Path) -> str | None:
    """Return which kind of model a folder says that it holds, or None where its card names none that is known."""
    try:
        form = load_json((folder / CARD_FILE).read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((kind for kind in USES if str(form).startswith(f"gradus-{kind.replace(' ', '-')}-")), None)


def read_card(folder: Path, card: type[Card], kind: str) -> Card:
    """Return the card of the model of this kind in `folder`.

    Raises:
        WeightsError: if there is none, or one that is damaged, of an unknown format, or of another kind.
    """
    path = folder / CARD_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise WeightsError(f"{folder} holds no saved {kind}: {path.name} {why}") from error
    found = kind_of(folder)
    if found not in (None, kind):
        raise WeightsError(f"{folder} holds a {found}, not a {kind}: {USES[str(found)]}")
    try:
        return card.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors()[0]
        # A capital begins the name of a type that was tried, which is no key.
        where = ".".join(str(part) for part in reason["loc"] if not str(part)[:1].isupper()) or "content"
        raise WeightsError(f"{path} is no {kind} of a format this Gradus knows ({where}: {reason['msg']})") from error


def write_card(card: Config, folder: Path) -> None:
    """Write `model.json`."""
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
