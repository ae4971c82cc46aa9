"""E-mail addresses, and public IP addresses told apart from version numbers.

Not personal, so left: addresses at names that are reserved for examples (RFC 2606, RFC 6761) and
the ones that documentation invents (user@domain.com); noreply addresses; `git@host:`, which is no
mailbox; IP addresses that are private, loopback, for documentation (RFC 5737, RFC 3849) or name a
network, and public resolvers. A dotted quad of small numbers is a version unless its words say
otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from pipeline.pii_config import Find

_MOST_LOCAL_CHARS = 64  # RFC 5321
_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})")
_EXAMPLE_DOMAIN = re.compile(
    r"\w\.(?:com|org|net)|(?:.*\.)?(?:example(?:\.\w+)?|test|invalid|localhost|local|internal|localdomain)"
    r"|(?:\w*example\w*|your-?\w*|my-?(?:domain|company|site|server|org)|domain|foo|bar|baz"
    r"|test\w{0,6}|xyz|abc|email|company|somewhere|nowhere|acme|host|server|mail)\."
    r"(?:com|org|net|edu|co|io|tld|dev)|(?:\w+\.)*noreply\.\w+\.com",
    re.I,
)
_EXAMPLE_LOCAL = re.compile(
    r"git|hg|svn|user(?:name)?|no-?reply|do-?not-?reply|(?:your|my)[._-]?\w*"
    r"|(?:user|first|last)[._-]?name\w*|x{3,}|example[\w-]*|someone|somebody",
    re.I,
)
_IN_ADDRESS = re.compile(r"://[^\s/@]*:[^\s/@]*$")
_ADDRESS_CHARS = 80
_FILE_ENDINGS = frozenset((
    "png", "jpg", "jpeg", "gif", "svg", "webp", "css", "scss", "js", "ts", "jsx", "tsx", "py",
    "rb", "go", "rs", "java", "php", "html", "htm", "xml", "json", "yml", "yaml", "toml", "txt",
    "md", "rst", "csv", "sh", "cfg", "ini", "so", "dll", "exe", "zip", "tar", "gz", "jar", "pdf",
    "log", "tld",
))  # fmt: skip

_QUAD = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?![\w+]|\.\d|-[a-zA-Z0-9])")
_GROUPS = re.compile(
    r"(?<![\w:.])[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:])"
)
_VERSION_WORD = re.compile(
    r"(?:\b(?:version|ver|v|release[ds]?|rev|revision|build|firmware|driver|upgraded?|updated?"
    r"|section|sect|chapter|clause|oid|schema|sdk|asn)|§|==|>=|<=|~=|\^)[\s:=.\"'`(]{0,4}(?:to\s)?$"
    r"|(?<!:)(?<!/)/$",
    re.I,
)
_ADDRESS_WORD = re.compile(
    r"\b(?:ip|ipv4|ips|addr|addresse?s?|host|hosts|server|client|dns|from|ping|gateway|subnet"
    r"|router|peer|remote|connect(?:ed|ion)?|proxy|attacker|login|://)\b[^\n]{0,25}$",
    re.I,
)
_SMALL = 64  # no part of a version is expected to be larger
_RESOLVERS = frozenset((
    "8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "4.2.2.1", "4.2.2.2", "208.67.222.222",
    "208.67.220.220", "2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111",
))  # fmt: skip


def find_emails(text: str) -> Iterator[Find]:
    """Mailboxes that may belong to somebody."""
    at = text.find("@")
    while at >= 0:
        if at and text[at - 1] in _LOCAL and (domain := _DOMAIN.match(text, at + 1)):
            start = _local_start(text, at)
            if start < at and _is_mailbox(text, start, at, domain):
                yield Find(start, domain.end(), "email")
        at = text.find("@", at + 1)


def _local_start(text: str, at: int) -> int:
    """Where the name before an at sign begins."""
    start = at
    while start > 0 and at - start < _MOST_LOCAL_CHARS and text[start - 1] in _LOCAL:
        start -= 1
    while start < at and not text[start].isalnum():
        start += 1
    return start


def _is_mailbox(text: str, start: int, at: int, domain: re.Match[str]) -> bool:
    """Whether it is not a file, a call (`x@y.shape(`), a password in an address or an example."""
    if domain.group(1).lower() in _FILE_ENDINGS or text.startswith("(", domain.end()):
        return False
    if _IN_ADDRESS.search(text[max(0, start - _ADDRESS_CHARS) : start]):
        return False
    return not (
        _EXAMPLE_DOMAIN.fullmatch(domain.group()) or _EXAMPLE_LOCAL.fullmatch(text[start:at])
    )


def find_ips(text: str, fours: bool = True, sixes: bool = True) -> Iterator[Find]:
    """Public addresses of version 4 and 6."""
    if fours:
        for quad in _QUAD.finditer(text):
            if _is_public(quad.group()) and not _is_version(text, quad):
                yield Find(*quad.span(), "ip")
    if sixes:
        for groups in _GROUPS.finditer(text):
            if _is_public(groups.group()):
                yield Find(*groups.span(), "ip")


def _is_public(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    is_network = address.endswith((".0", "::"))
    return (
        parsed.is_global
        and not parsed.is_multicast
        and not is_network
        and address not in _RESOLVERS
    )


def _is_version(text: str, quad: re.Match[str]) -> bool:
    before = text[max(0, quad.start() - 40) : quad.start()]
    if _VERSION_WORD.search(before):
        return True
    small = all(int(part) < _SMALL for part in quad.group().split("."))
    return small and not _ADDRESS_WORD.search(before)
