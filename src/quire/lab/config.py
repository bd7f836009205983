"""Configs: frozen, typed, checked, and nothing derived after parsing."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from quire.lab.errors import UserError, unknown
from quire.lab.papers import first_fault


class Config(BaseModel):
    """Base of every experiment's config. A docstring under a field is its help; give the unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Precision of `run.precision()`: auto is bfloat16 where the device computes it natively."""

    @classmethod
    def build(cls, values: dict[str, Any]) -> Self:
        """The config with `values` over the defaults.

        Raises `UserError` with one line: the field, what it takes, what it got.
        """
        for key in values:
            if key not in cls.model_fields:
                raise unknown("field", key, cls.model_fields)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(first_fault(error)) from None
