"""What every section of a recipe shares: frozen, no unknown fields, and a view of what matters.

A field that changes how fast or how visibly a stage works, but never what it makes (workers,
concurrency, a cost cap), is declared with `HOW`: it stays out of the fingerprint, so turning it
does not throw away finished work.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

HOW: dict[str, Any] = {"changes_output": False}


class Section(BaseModel):
    """One section of a recipe. Off is `null`, never -1 or 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def what(self) -> dict[str, Any]:
        """The JSON view of the fields that decide the output, in sections within it too."""
        plain = self.model_dump(mode="json")
        described = type(self).model_fields
        return {
            name: _what(getattr(self, name), plain[name])
            for name, field in described.items()
            if field.json_schema_extra != HOW
        }


def _what(value: Any, plain: Any) -> Any:
    if isinstance(value, Section):
        return value.what()
    if isinstance(value, list | tuple):
        return [_what(v, p) for v, p in zip(value, plain, strict=True)]
    return plain
