"""What the configuration says of splitting and balancing. It is read by every command, so it needs no large library."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.core.config import Config


class BalanceConfig(Config):
    """How classes of different size are evened out."""

    method: Literal["none", "undersample", "class_weight"] = "none"
    """`undersample` draws, from each class, as many rows as the smallest class has; `class_weight` keeps all rows and
    lets a row of a small class count for more in the loss."""

    when: Literal["train_only", "before_split"] = "train_only"
    """`train_only` keeps the real class ratio in validation and test; `before_split` is the tutorial's order."""

    seed: int = Field(default=123, ge=0, lt=2**32)
    """Seed of the draw."""

    @model_validator(mode="after")
    def _weights_belong_to_training(self) -> Self:
        if self.method == "class_weight" and self.when == "before_split":
            raise ValueError(
                "method=class_weight leaves the rows as they are, so nothing can be done before the split: "
                "set when=train_only, or method=undersample"
            )
        return self


class Fractions(Config):
    """Shares of the rows; they add up to 1."""

    train: float = Field(default=0.7, gt=0, lt=1)
    """Share of rows that the model is trained on."""

    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of rows that the checkpoint is chosen on."""

    test: float = Field(default=0.2, gt=0, lt=1)
    """Share of rows that is looked at once, at the end."""

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, not {self.train + self.validation + self.test:g}")
        return self


class GroupConfig(Config):
    """Which rows stay in one split; the base of what says how rows are dealt."""

    fractions: Fractions = Fractions()
    """Share of the rows in each split."""

    seed: int = Field(default=123, ge=0, lt=2**32)
    """Seed of the draw."""

    group_duplicates: bool = True

    group_near_duplicates: Literal["auto"] | bool = "auto"
    """Keep texts of eight words and more in one split whose sets of words have a Jaccard similarity of 0.8 and more,
    however many steps apart; `auto` does so up to 200,000 rows, if duplicates are grouped."""

    stratify: bool = True

    @property
    def groups_near_duplicates(self) -> bool:
        """Whether near duplicates stay in one split, as far as they are looked for."""
        return self.group_duplicates and self.group_near_duplicates is not False

    @model_validator(mode="after")
    def _near_are_duplicates(self) -> Self:
        if self.group_near_duplicates is True and not self.group_duplicates:
            raise ValueError("group_near_duplicates=true keeps duplicates together too: set group_duplicates=true")
        return self


class SplitConfig(GroupConfig):
    """How rows are dealt to train, validation and test."""

    group_duplicates: bool = True
    """Keep texts that are equal after folding case, white space and digits in one split."""

    stratify: bool = True
    """Give every split the same share of each class: exactly in tables of fewer than 1,000 rows, otherwise as by
    drawing lots, but at least one group of each class."""


class InstructionFractions(Fractions):
    """Shares of the rows; they add up to 1."""

    train: float = Field(default=0.85, gt=0, lt=1)
    """Share of rows that the model is trained on."""

    validation: float = Field(default=0.05, gt=0, lt=1)
    """Share of rows that the checkpoint is chosen on."""

    test: float = Field(default=0.10, gt=0, lt=1)
    """Share of rows that the model responds to, once, at the end."""


class InstructionSplitConfig(GroupConfig):
    """How rows are dealt to train, validation and test."""

    fractions: InstructionFractions = InstructionFractions()
    """Share of the rows in each split."""

    order: Literal["shuffled", "file"] = "shuffled"
    """`file` cuts the file as it stands: train first, then test, then validation, as the tutorial does. Nothing is
    shuffled, grouped or stratified then."""

    group_duplicates: bool = True
    """Keep rows in one split whose instruction and input are equal after folding case and white space; with
    `order=file` it is false."""

    stratify: bool = True
    """Give every split the same share of each task, where there is a column `task`: exactly in tables of fewer than
    1,000 rows, otherwise as by drawing lots; with `order=file` it is false."""

    @model_validator(mode="before")
    @classmethod
    def _file_order_is_all(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("order") == "file":
            return {"group_duplicates": False, "stratify": False} | values
        return values

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wrong = [name for name in ("group_duplicates", "stratify") if self.order == "file" and getattr(self, name)]
        if wrong:
            raise ValueError(
                f"{' and '.join(f'{name}=true' for name in wrong)}: order=file leaves every row where it stands; "
                "leave that out, or set order=shuffled"
            )
        return self
