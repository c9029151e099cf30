"""What the configuration says of data for hosted fine-tuning."""

from pydantic import Field

from components.core.config import Config


class HostedConfig(Config):
    """How examples are written for a hosted service."""

    separator: str | None = Field(default=None, min_length=1)
    """What every prompt ends with, so that the model knows where the completion begins. It stands nowhere else in a
    prompt; by default it is the first of some that does not."""

    stop: str | None = Field(default=None, min_length=1)
    """What every completion ends with, at which generation is stopped later. It stands nowhere else in a completion; by
    default it is the first of some that does not."""

    system: str | None = Field(default=None, min_length=1)
    """The system message of each chat that brings none; by default that of labelled texts names the labels, and others
    have none."""
