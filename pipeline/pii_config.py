"""What counts as personal in a text, what is done about it, and what a find is.

On by default is what has a check digit or a form that hardly anything else has. A number that a
check digit alone cannot tell from any other number is believed only beside its name ("PESEL",
"BSN"); see `pipeline.pii_ids`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from pipeline.config import Section

PiiType = Literal["private_key", "secret", "email", "ip", "iban", "card", "national_id", "phone"]
NationalId = Literal[
    "us_ssn", "br_cpf", "fr_nir", "be_nn", "se_personnummer", "fi_hetu", "no_fodselsnummer",
    "cn_ric", "kr_rrn", "es_dni", "es_nie", "it_codicefiscale", "mx_curp", "pl_pesel", "de_idnr",
    "nl_bsn", "gb_nhs", "ca_sin", "in_aadhaar", "tr_tckimlik", "za_idnr", "au_tfn",
]  # fmt: skip

TYPES: tuple[PiiType, ...] = PiiType.__args__  # type: ignore[attr-defined]
NATIONAL_IDS: tuple[NationalId, ...] = NationalId.__args__  # type: ignore[attr-defined]
SECRETS: frozenset[PiiType] = frozenset(("private_key", "secret"))
PLACEHOLDERS: dict[PiiType, str] = {kind: f"<{kind.upper()}>" for kind in TYPES}
REGIONS = ("US", "GB", "IE", "AU", "NZ", "IN", "ZA", "DE", "AT", "CH", "FR", "BE", "NL", "ES", "PT",
           "IT", "SE", "NO", "DK", "FI", "PL", "BR", "MX", "JP")  # fmt: skip


class Find(NamedTuple):
    """Where something personal stands, in characters. It never holds the thing itself."""

    start: int
    end: int
    type: PiiType


class PiiConfig(Section):
    """What is looked for, and what is done about it."""

    types: tuple[PiiType, ...] = Field(TYPES, description="What is looked for; none is off.")
    national_ids: tuple[NationalId, ...] = Field(
        NATIONAL_IDS, description="Identity numbers that are looked for, by country and name."
    )
    phone_regions: tuple[str, ...] = Field(
        REGIONS,
        description="Countries (ISO 3166) whose numbers are known without their country code.",
    )
    assigned_secrets: bool = Field(
        True, description='Values of high entropy given to a name like "api_key" are secrets too.'
    )
    prose: Literal["redact", "drop"] = Field(
        "redact", description="Put a placeholder into prose, or drop the document."
    )
    code: Literal["redact", "drop"] = Field(
        "redact", description="The same for strings and comments of program text."
    )
    unparsed_code: Literal["keep", "drop"] = Field(
        "drop",
        description="Program text that Python cannot parse, with something personal (no secret) "
        "outside of comment lines and quotes: it cannot be edited safely.",
    )
    keep_author_emails: bool = Field(
        False, description="Keep e-mails beside a copyright or an author at the top of code."
    )
