"""The handoff's signature: HMAC-SHA256 (RFC 2104) over the whole record but the signature itself.

Signed is the canonical JSON of the record: keys sorted, no blanks, ASCII. The key is the value of
an environment variable as UTF-8; it stands in no file, only the variable's name does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.environment import secret
from pipeline.errors import InputError, StageError

KEY_VARIABLE = "PRIMER_HANDOFF_KEY"


class Signature(BaseModel):
    """Who can make the same `hmac` of the record holds the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["hmac-sha256"]
    key_variable: str
    hmac: str


def sign(record: Mapping[str, Any], key_variable: str) -> Signature:
    """The signature of a record; InputError where the variable holds no key."""
    key = secret(key_variable)
    if key is None:
        raise InputError(
            "handoff",
            f"handoff.key_variable names {key_variable}, which holds no key",
            f"export {key_variable}, or set handoff.key_variable to null",
        )
    return Signature(algorithm="hmac-sha256", key_variable=key_variable, hmac=_hmac_of(record, key))


def check_signature(
    path: Path, record: Mapping[str, Any], signature: Signature | None, key_variable: str | None
) -> None:
    """Raises StageError unless the record is signed with the key that is expected.

    Expected is the key of `key_variable`, else of PRIMER_HANDOFF_KEY, which makes a signature a
    must; else of the variable that the signature names, if it is set. With no key nothing is
    checked: a record cannot be asked which key to trust.
    """
    expected = key_variable or (KEY_VARIABLE if secret(KEY_VARIABLE) else None)
    if expected is None:
        if signature is None or secret(signature.key_variable) is None:
            return
        expected = signature.key_variable
    key = secret(expected)
    if key is None:
        raise InputError("handoff", f"{expected} holds no key", f"export {expected}")
    if signature is None:
        raise StageError(
            "handoff",
            f"{path} is not signed, and {expected} holds a key",
            f"set handoff.key_variable: {expected} and run the recipe again, or unset {expected}",
        )
    if not hmac.compare_digest(_hmac_of(record, key), signature.hmac):
        raise StageError(
            "handoff",
            f"{path} is not signed with the key in {expected} (it names {signature.key_variable}), "
            "or was changed since",
            "take the handoff from its maker again, or export the right key",
        )


def _hmac_of(record: Mapping[str, Any], key: str) -> str:
    plain = {name: value for name, value in record.items() if name != "signature"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
