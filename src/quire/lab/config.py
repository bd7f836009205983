"""Configs: frozen, typed, checked, and nothing derived after parsing."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from quire.lab.errors import UserError, unknown
from quire.lab.papers import first_fault


class Group(BaseModel):
    """Base of a group of settings that several configs share, as a value in each of them."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Config(Group):
    """Base of every experiment's config. A docstring under a field is its help; give the unit."""

    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Precision of `run.precision()`: auto is bfloat16 where the device computes it natively."""
    compile: bool = False
    """On a GPU, compile what `run.place` gets, with CUDA graphs: small nets train several times as
    fast, and numbers differ by rounding. Elsewhere it does nothing."""

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Self:
        """The config with `values` over the defaults; those of a group over the group's.

        Raises `UserError` with one line: the field, what it takes, what it got.
        """
        try:
            return cls.model_validate(_over(cls, values))
        except ValidationError as error:
            raise UserError(first_fault(error)) from None


def _over(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    whole = {}
    for key, value in values.items():
        if key not in kind.model_fields:
            raise unknown("field", key, kind.model_fields)
        default = kind.model_fields[key].default
        if isinstance(default, BaseModel) and isinstance(value, Mapping):
            given = {name: getattr(default, name) for name in type(default).model_fields}
            value = given | _over(type(default), value)
        whole[key] = value
    return whole
