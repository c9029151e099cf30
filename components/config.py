"""The base of every config: typed, frozen, and closed to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A section of a preset, declared beside the code that it configures.

    Unknown keys, wrong types and values out of range raise `pydantic.ValidationError` on construction;
    `pipelines.config` turns that into a `ConfigError` that names the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
