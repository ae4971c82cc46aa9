"""Made-up personal data in the forms that people write it in, each valid by its own rules.

Nothing here is taken from anybody: numbers are drawn until their check digits or numbering plans
hold. A plant is a value and the words around it; words stand before the numbers that need them
(docs/pii.md), as they would in a form or a letter.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pipeline.pii_config import NationalId, PiiType
from pipeline.pii_ids import NUMBERS

PHONE_REGIONS = ("US", "CA", "GB", "IE", "DE", "AT", "CH", "FR", "BE", "NL", "ES", "PT", "IT", "SE",
                 "NO", "DK", "FI", "PL", "CZ", "GR", "TR", "RU", "UA", "IN", "CN", "JP", "KR", "SG",
                 "AU", "NZ", "ZA", "KE", "EG", "IL", "AE", "BR", "MX", "AR", "CL")  # fmt: skip
_BANKS = {"DE": "dddddddddddddddddd", "GB": "AAAAdddddddddddddd", "NL": "AAAAdddddddddd",
          "AT": "dddddddddddddddd", "SE": "dddddddddddddddddddd", "IE": "AAAAdddddddddddddd",
          "CH": "ddddddddddddddddd", "LU": "dddAAAAAAAAAAAAA", "RO": "AAAAdddddddddddddddd",
          "DK": "dddddddddddddd", "GR": "ddddddddddddddddddddddd"}  # fmt: skip
_ID_FORMS: dict[NationalId, tuple[str, str]] = {  # the word before it, and its form
    "us_ssn": ("", "ddd-dd-dddd"), "br_cpf": ("", "ddd.ddd.ddd-dd"),
    "fr_nir": ("", "1 8d 0N 7d ddd ddd dd"), "be_nn": ("", "8d.0N.1d-ddd.dd"),
    "se_personnummer": ("", "8d0N1d-dddd"), "fi_hetu": ("", "1d0N8d-dddA"),
    "no_fodselsnummer": ("Fødselsnr. ", "1d0N8d ddddd"), "cn_ric": ("", "110105198d0N1ddddd"),
    "kr_rrn": ("", "8d0N1d-1dddddd"), "es_dni": ("", "ddddddddA"), "es_nie": ("", "XdddddddA"),
    "it_codicefiscale": ("", "AAAAAA8dE1dAdddA"), "mx_curp": ("", "AEAA8d0N1dHDFBCDdd"),
    "pl_pesel": ("PESEL: ", "8d0N1dddddd"), "de_idnr": ("Steuer-ID ", "dd ddd ddd ddd"),
    "nl_bsn": ("BSN ", "ddddddddd"), "gb_nhs": ("NHS no. ", "ddd ddd dddd"),
    "ca_sin": ("SIN: ", "ddd-ddd-ddd"), "in_aadhaar": ("Aadhaar ", "dddd dddd dddd"),
    "tr_tckimlik": ("T.C. Kimlik No: ", "ddddddddddd"),
    "za_idnr": ("ID number ", "8d0N1ddddd08d"), "au_tfn": ("TFN ", "ddd ddd ddd"),
}  # fmt: skip
_TOKENS = {
    "aws": "AKIA{16:U}", "github": "ghp_{36:a}", "github fine": "github_pat_{22:a}_{59:a}",
    "gitlab": "glpat-{20:a}", "slack": "xoxb-{12:d}-{12:d}-{24:a}", "openai": "sk-{48:a}",
    "openai project": "sk-proj-{48:a}", "anthropic": "sk-ant-api03-{80:a}",
    "stripe": "sk_live_{24:a}", "google": "AIza{35:a}", "sendgrid": "SG.{22:a}.{43:a}",
    "twilio": "SK{32:h}", "npm": "npm_{36:a}", "pypi": "pypi-AgEIcHlwaS5vcmc{80:a}",
    "hugging face": "hf_{34:a}", "mailchimp": "{32:h}-us12", "telegram": "{9:d}:{35:a}",
    "azure": "AccountKey={86:a}==", "digital ocean": "dop_v1_{64:h}",
    "discord": "M{23:a}.{6:a}.{27:a}",
}  # fmt: skip
_NAMED = {"named hex": ("api_key = '", 32, "h"), "named base64": ("'secret_key': '", 40, "a"),
          "in the environment": ("AUTH_TOKEN=", 40, "a")}  # fmt: skip
_ALPHABETS = {"a": string.ascii_letters + string.digits, "d": string.digits,
              "h": "0123456789abcdef", "U": string.ascii_uppercase + "234567"}  # fmt: skip
_ISSUERS = (("4", 16), ("51", 16), ("2300", 16), ("37", 15), ("6011", 16), ("3530", 16),
            ("36", 14), ("6222", 16))  # fmt: skip
_FIRST = ["anna", "bjorn", "chen", "dimitri", "elena", "farid", "gita",
          "hugo", "ines", "jamal", "kofi", "lena", "maria", "noor"]  # fmt: skip
_LAST = ["almeida", "berg", "costa", "dubois", "evans", "fischer",
         "garcia", "haddad", "ivanov", "jensen", "kim", "lopez"]  # fmt: skip
_HOSTS = ["gmail.com", "web.de", "yahoo.co.uk", "uni-bonn.de",
          "mit.edu", "orange.fr", "proton.me", "firma.com.br"]  # fmt: skip


class Plant(NamedTuple):
    """What is put into a text: the sort of it, the words, and the value that must vanish."""

    type: PiiType
    sort: str
    words: str
    value: str


def plants(seed: int, each: int) -> Iterator[Plant]:
    """`each` plants of every sort, in an order that the seed alone decides."""
    draw = random.Random(seed)  # noqa: S311
    for _ in range(each):
        for make in (_emails, _phones, _ips, _cards, _ibans, _ids, _secrets, _private_keys):
            yield from make(draw)


def _emails(draw: random.Random) -> Iterator[Plant]:
    first, last, host = draw.choice(_FIRST), draw.choice(_LAST), draw.choice(_HOSTS)
    number = draw.randrange(100)
    for local in (f"{first}.{last}", f"{first[0]}{last}{number}", f"{last}_{first}+news"):
        value = f"{local}@{draw.choice(['', 'mail.'])}{host}"
        words = draw.choice(["{}", "<{}>", "mailto:{}", "E-mail: {}.", "({})", "[me]({})"])
        yield Plant("email", "email", words.format(value), value)


def _phones(draw: random.Random) -> Iterator[Plant]:
    import phonenumbers as pn

    for region in PHONE_REGIONS:
        kind = draw.choice([pn.PhoneNumberType.MOBILE, pn.PhoneNumberType.FIXED_LINE])
        sample = pn.national_significant_number(pn.example_number_for_type(region, kind))

        drawn = _until(
            lambda head=sample[:-4]: f"{head}{draw.randrange(10_000):04}",
            lambda n, r=region: pn.is_valid_number(_parsed(n, r)),
        )
        number = _parsed(drawn, region)
        forms = pn.PhoneNumberFormat
        yield _plant("phone", "international", pn.format_number(number, forms.INTERNATIONAL))
        yield _plant("phone", "E.164", pn.format_number(number, forms.E164))
        if region in {"US", "GB", "DE", "FR", "IT", "AU", "IN", "ES", "BR"}:
            written = pn.format_number(number, forms.NATIONAL)
            word = draw.choice(["Tel. ", "Phone: ", "call ", "Fax "])
            yield Plant("phone", "national after a word", word + written, written)
            yield _plant("phone", "national alone", written)


def _parsed(number: str, region: str) -> object:
    import phonenumbers as pn

    code = pn.country_code_for_region(region)
    return pn.PhoneNumber(code, int(number), italian_leading_zero=number.startswith("0") or None)


def _plant(kind: PiiType, sort: str, value: str) -> Plant:
    return Plant(kind, sort, value, value)


def _ips(draw: random.Random) -> Iterator[Plant]:
    four = _until(
        lambda: str(IPv4Address(draw.getrandbits(32))),
        lambda ip: IPv4Address(ip).is_global and not IPv4Address(ip).is_multicast,
    )
    yield _plant("ip", "IPv4", four)
    yield _plant("ip", "IPv6", str(IPv6Address(0x2A00 << 112 | draw.getrandbits(108))))


def _cards(draw: random.Random) -> Iterator[Plant]:
    from stdnum import luhn

    for head, length in _ISSUERS:
        body = head + "".join(draw.choices("0123456789", k=length - len(head) - 1))
        number = body + luhn.calc_check_digit(body)
        cuts = (4, 10) if length < 16 else (4, 8, 12)
        gap = draw.choice(" -")
        yield _plant("card", "plain", number)
        yield _plant("card", "grouped", gap.join(_cut(number, cuts)))


def _cut(number: str, cuts: tuple[int, ...]) -> list[str]:
    return [number[a:b] for a, b in zip((0, *cuts), (*cuts, len(number)), strict=True)]


def _ibans(draw: random.Random) -> Iterator[Plant]:
    from stdnum import iban

    for country, form in _BANKS.items():
        value = _until(partial(_iban, country, form, draw), iban.is_valid)
        yield _plant("iban", "plain", value)
        yield _plant("iban", "grouped", iban.format(value))


def _iban(country: str, form: str, draw: random.Random) -> str:
    from stdnum import iban

    bank = _fill(form, draw)
    return country + iban.calc_check_digits(f"{country}00{bank}") + bank


def _ids(draw: random.Random) -> Iterator[Plant]:
    for name, (word, form) in _ID_FORMS.items():
        is_valid = import_module(f"stdnum.{NUMBERS[name].module}").is_valid
        value = _until(partial(_fill, form, draw), is_valid)
        yield Plant("national_id", name, word + value, value)


def _secrets(draw: random.Random) -> Iterator[Plant]:
    for sort, form in _TOKENS.items():
        yield _plant("secret", sort, re.sub(r"\{(\d+):(\w)\}", partial(_letters, draw), form))
    for sort, (name, length, letters) in _NAMED.items():
        value = "".join(draw.choices(_ALPHABETS[letters], k=length))
        yield Plant("secret", sort, name + value + name[-1].strip("="), value)
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": draw.getrandbits(40), "name": "a"}]
    coded = [*(json.dumps(part).encode() for part in parts), draw.randbytes(32)]
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in coded)
    yield _plant("secret", "JWT", token)
    password = "".join(draw.choices(_ALPHABETS["a"], k=12))
    yield Plant("secret", "in an address", f"postgres://app:{password}@db.firma.de/x", password)


def _letters(draw: random.Random, form: re.Match[str]) -> str:
    return "".join(draw.choices(_ALPHABETS[form.group(2)], k=int(form.group(1))))


def _private_keys(draw: random.Random) -> Iterator[Plant]:
    for sort in ("RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY"):
        body = base64.encodebytes(draw.randbytes(120 if sort[0] == "E" else 600)).decode()
        key = f"-----BEGIN {sort}-----\n{body}-----END {sort}-----"
        yield Plant("private_key", sort, key, body[:60])


def _fill(form: str, draw: random.Random) -> str:
    """A form with its d (digits), N (1 to 9), E (a vowel or month) and A (letters) drawn."""
    sets = {"d": "0123456789", "N": "123456789", "A": string.ascii_uppercase, "E": "AEH"}
    return "".join(draw.choice(sets[c]) if c in sets else c for c in form)


def _until(make: Callable[[], str], is_valid: Callable[[str], bool]) -> str:
    """The first of at most a million draws that is valid."""
    return next(value for value in (make() for _ in range(1_000_000)) if is_valid(value))
