"""Credentials: keys with a form of their own, private keys, passwords in addresses, named values.

The forms are those of detect-secrets (https://github.com/Yelp/detect-secrets): its plugins'
compiled patterns run on a whole text, without its scanner, which opens files, splits lines and
starts processes. Left out are its keyword and bare high-entropy plugins, which are wrong more often
than right in prose; instead a value counts when a name such as "api_key" stands before it *and*
its entropy, by detect-secrets' measure, is high. Keys that documentation makes up are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from pipeline.pii_config import Find
from pipeline.pii_marks import AT, DIGITS, JOINED, LONG, VALUE, literal_mark

_LINK = literal_mark("://")
# What a form can ask for; the other marks would only make more combinations to remember.
_FORM_MARKS = ~(AT | VALUE | _LINK)
_SAMPLE = re.compile(
    r"example|sample|dummy|place.?holder|\byour|your[_-]|changeme|redacted|insert|replace|fake|foobar|x{4}"
    r"|\*{3}|0{6}|123456|abcdef|deadbeef|(.)\1{5}",
    re.I,
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]*")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[^-]{0,20000}"
    r"(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)?"
    r"|PuTTY-User-Key-File-\d:.{0,8000}?Private-MAC: ?[0-9a-f]+",
    re.S,
)
_LEAST_KEY_CHARS = 64  # of base64; a header alone is no key
_VALUE = re.compile(r"(?<![A-Za-z0-9_+/\-])[A-Za-z0-9_+/\-]{20,200}={0,2}(?![\w+/\-.(])")
_VALUE_NAME = re.compile(
    r"(?:(?:api|access|secret|auth|private|account|client|encryption|signing|service|master)[_ -]?"
    r"(?:key|token|secret)|secret|token|passw(?:or)?d|passphrase|\bpwd|credential)"
    r"\w{0,16}\\?[\"'`]?\]?\s{0,3}(?:=>|:=|=|:)\s{0,3}[bru]?\\?[\"'`]?$",
    re.I,
)
_VALUE_NAME_CHARS = 60
_WORDS = re.compile(r"[A-Za-z][a-z]{3,}")
_MOST_WORDS_SHARE = 0.6  # of a key; names of things are words, parted by _ or capitals
_PASSWORD_SAMPLE = re.compile(
    r"(?:my|your|the|some|db|test|user|root|admin|super)?_?-?(?:pass(?:word|wd|phrase)?\d*|pwd|pw|secret"
    r"|token|key|guest|user(?:name)?|root|admin|test|changeme|postgres|mysql|mongo|redis|hunter2"
    r"|tiger|pass\W\w+|(?:foo|bar|baz)\d*|abc\w?|xyz|letmein|port|p|\d{1,6})"
    r"|[<{$%\[*.].*|x{3}.*|.{1,3}",
    re.I,
)
_LOCAL_HOST = re.compile(r"(?:localhost|127\.|\w+[:/]|[\w.-]*example\b|host\b|\[|\{|<|\$)")


class Form(NamedTuple):
    """One form of credential: a text that holds it has one of `literals` and bears all `marks`."""

    pattern: re.Pattern[str]
    literals: tuple[str, ...]
    marks: int = 0

    def may_be_in(self, marks: int) -> bool:
        """Whether a text with these marks can hold it."""
        literal = not self.literals or any(marks & literal_mark(name) for name in self.literals)
        return literal and marks & self.marks == self.marks


@lru_cache(maxsize=4_096)
def _patterns(marks: int) -> tuple[re.Pattern[str], ...]:
    """The patterns of the forms that a text with these marks can hold."""
    return tuple(form.pattern for form in forms() if form.may_be_in(marks))


@lru_cache(maxsize=1)
def forms() -> tuple[Form, ...]:
    """Every form, ready to search with."""
    from detect_secrets.plugins import (
        azure_storage_key,
        discord,
        gitlab_token,
        mailchimp,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        telegram_token,
        twilio,
    )

    long, every = LONG, re.compile
    gitlab = gitlab_token.GitLabTokenDetector.denylist
    return (
        Form(every(r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}"),
             ("AKIA", "ASIA", "ABIA", "ACCA", "A3T")),
        # Longer than detect-secrets': tokens have grown since.
        Form(every(r"gh[pousr]_[A-Za-z0-9]{36,255}"),
             ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), long),
        Form(every(r"github_pat_\w{36,255}"), ("github_pat_",), long),
        Form(gitlab[0], ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-"), long),
        Form(gitlab[1], ("GR1348941",), long),
        *(Form(pattern, (name,), long) for pattern, name in zip(
            gitlab[2:], ("glcbt-", "glimt-", "glptt-", "glagent-", "gloas-"), strict=True)),
        Form(every(r"xox[abeoprs]-(?:\d+-)+[A-Za-z0-9]+|xapp-\d-[A-Z0-9]+-\d+-[a-f0-9]+"),
             ("xox", "xapp-")),
        Form(slack.SlackDetector.denylist[1], ("hooks.slack.com/services/",)),
        Form(every(r"sk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,}"), ("sk-",), long),
        Form(every(r"[rs]k_live_[0-9a-zA-Z]{24,}"), ("k_live_",), long),
        Form(sendgrid.SendGridDetector.denylist[0], ("SG.",), long),
        Form(square_oauth.SquareOAuthDetector.denylist[0], ("sq0csp-",)),
        Form(every(r"eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,}\.?[A-Za-z0-9_.+/=-]*"),
             ("eyJ",)),
        Form(azure_storage_key.AzureStorageKeyDetector.denylist[0], ("AccountKey=",), long),
        Form(every(r"npm_[A-Za-z0-9]{36}"), ("npm_",), long),
        Form(every(r":_authToken=\s*[\w-]{20,200}"), (":_authToken=",)),
        *(Form(pattern, ("pypi-AgE",), long) for pattern in pypi_token.PypiTokenDetector.denylist),
        Form(every(r"AIza[0-9A-Za-z_-]{35}"), ("AIza",), long),
        Form(every(r"hf_[A-Za-z0-9]{34,}"), ("hf_",), long),
        Form(every(r"AKC[a-zA-Z0-9]{60,}"), ("AKC",), long),
        *(Form(pattern, (name,), long) for pattern, name in zip(
            twilio.TwilioKeyDetector.denylist, ("AC", "SK"), strict=True)),
        Form(mailchimp.MailchimpDetector.denylist[0], ("-us",), long),
        Form(discord.DiscordBotTokenDetector.denylist[0], (), JOINED),
        Form(telegram_token.TelegramBotTokenDetector.denylist[0], (), long | DIGITS),
        Form(every(r"ya29\.[0-9A-Za-z_-]{30,}"), ("ya29.",), long),
        Form(every(r"dop_v1_[a-f0-9]{64}"), ("dop_v1_",), long),
        Form(every(r"shpat_[a-fA-F0-9]{32}"), ("shpat_",), long),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _password_form() -> re.Pattern[str]:
    from detect_secrets.plugins.basic_auth import BasicAuthDetector

    return BasicAuthDetector.denylist[0]


def find_secrets(text: str, marks: int, assigned: bool) -> Iterator[Find]:
    """Credentials; `assigned` asks for values of high entropy behind a telling name too."""
    for pattern in _patterns(marks & _FORM_MARKS):
        for found in pattern.finditer(text):
            yield from _checked(text, found)
    if marks & _LINK and marks & AT:
        for found in _password_form().finditer(text):
            sample = _PASSWORD_SAMPLE.fullmatch(found.group(1)) or _SAMPLE.search(found.group(1))
            if not sample and not _LOCAL_HOST.match(text, found.end()):
                yield Find(*found.span(1), "secret")
    if assigned and marks & VALUE:
        yield from _find_values(text)


def _checked(text: str, found: re.Match[str]) -> Iterator[Find]:
    """The whole token, unless it begins in the midst of another or is made up."""
    start, end = found.span()
    if text[start - 1 : start].isalnum():
        return
    rest = _TOKEN.match(text, end)
    end = rest.end() if rest else end
    body = text[start + 4 : end]
    mixed = any(map(str.isdecimal, body)) or body != body.lower()  # words and dashes are names
    if mixed and len(set(body)) > 9 and not _SAMPLE.search(body):
        yield Find(start, end, "secret")


def _find_values(text: str) -> Iterator[Find]:
    """Values that look random, behind a name that says what they are."""
    for found in _VALUE.finditer(text):
        value = found.group()
        if _is_mixed(value):
            before = text[max(0, found.start() - _VALUE_NAME_CHARS) : found.start()]
            if _VALUE_NAME.search(before) and not _SAMPLE.search(value) and _is_random(value):
                yield Find(*found.span(), "secret")


def _is_mixed(value: str) -> bool:
    return any(map(str.isdecimal, value)) and any(map(str.isalpha, value))


def _is_random(value: str) -> bool:
    """Whether its entropy is that of a key: 3 bits a character for hexadecimal, else 3.7."""
    from detect_secrets.plugins.high_entropy_strings import (
        Base64HighEntropyString,
        HexHighEntropyString,
    )

    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", value):
        return bool(HexHighEntropyString(3.0).calculate_shannon_entropy(value) > 3.0)
    many_digits = sum(map(str.isdecimal, value)) >= 4
    both_cases = value.lower() != value != value.upper()
    in_words = sum(map(len, _WORDS.findall(value)))
    is_path = value.count("/") > 3
    named = is_path or in_words > _MOST_WORDS_SHARE * len(value)
    if named or not (many_digits or both_cases):
        return False
    return bool(Base64HighEntropyString(3.7).calculate_shannon_entropy(value) > 3.7)


def find_private_keys(text: str) -> Iterator[Find]:
    """Private keys in PEM, OpenSSH, PGP or PuTTY form that hold a key, cut short or not."""
    for found in _PRIVATE_KEY.finditer(text):
        body = re.sub(r"-----.*?-----|[^A-Za-z0-9+/]", "", found.group())
        if len(body) >= _LEAST_KEY_CHARS and len(set(body)) > 20:
            yield Find(*found.span(), "private_key")
