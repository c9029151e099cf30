"""The base of every config: typed, frozen, and closed to unknown keys."""

from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    SerializationInfo,
    ValidationInfo,
    field_validator,
    model_validator,
)

from components.core.redaction import EXACT, redact, remember_secrets

LARGEST = 2**31 - 1
"""The largest whole number of a setting that has no bound of its own; beyond it libraries fail in their own words."""


class Config(BaseModel):
    """A section of a preset, declared beside the code that it configures.

    Unknown keys, wrong types and values out of range raise `pydantic.ValidationError` on construction;
    `pipelines.config` turns that into a `ConfigError` that names the key.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, hide_input_in_errors=True
    )

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

    @field_validator("*")
    @classmethod
    def _no_number_is_too_large(cls, value: Any, info: ValidationInfo) -> Any:
        bounds = cls.model_fields[str(info.field_name)].metadata
        bounded = any(hasattr(each, "le") or hasattr(each, "lt") for each in bounds)
        if type(value) is int and abs(value) > LARGEST and not bounded:
            raise ValueError(f"no number here is larger than {LARGEST:,}")
        return value


def _dumped(address: str, info: SerializationInfo) -> str:
    return address if info.context == EXACT else redact(address)


Address = Annotated[str, AfterValidator(remember_secrets), PlainSerializer(_dumped, when_used="json")]
"""Where something is: an address that may hold a password or a token, a path, a name.

Dumped as JSON it has none, since what is dumped is kept by Prefect and MLflow, but for hashes (`redaction.EXACT`).
"""
