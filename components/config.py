"""The base of every config: typed, frozen, and closed to unknown keys."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Config(BaseModel):
    """A section of a preset, declared beside the code that it configures.

    Unknown keys, wrong types and values out of range raise `pydantic.ValidationError` on construction;
    `pipelines.config` turns that into a `ConfigError` that names the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        # Python and pydantic take True for 1; whoever writes `epochs: true` means something else.
        if isinstance(values, dict):
            for name, value in values.items():
                field = cls.model_fields.get(name)
                if isinstance(value, bool) and field and bool not in (field.annotation, *get_args(field.annotation)):
                    raise ValueError(f"{name} is {str(value).lower()}, but true and false are not among its values")
        return values
