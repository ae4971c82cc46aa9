"""Under which licence a file stands, by what its own first comments say; null where they do not.

An SPDX tag counts first. Then the notices that licences prescribe for headers are looked for by
the words that only they have. A header that speaks of two licences names none: whether one may
choose, or must heed both, only a person or an SPDX tag can say. "BSD licence" or "GPL" without a
version names none either.

Sources: https://spdx.dev/learn/handling-license-info/, the notices of https://spdx.org/licenses/.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+()\- \t]+)")
_MARKS = re.compile(r"^[ \t]*(?:#+|//+|/?\*+/?|--+|;+|%+|<!--)?|\*+/|-->", re.M)
_BLANKS = re.compile(r"\s+")
_SPEAKS = re.compile(
    r"licen[sc]e|permission|redistribution|public domain|copying|gpl|as.is", re.I
)  # what any notice says somewhere
_GRANT = (
    r"(?:licen[sc]ed|released|distributed|available|provided) under (?:the )?(?:terms of the )?"
)

# (SPDX id, words that say it, words that speak against it), of lower-case text without marks.
_NOTICES = tuple(
    (name, re.compile(said), re.compile(but) if but else None)
    for name, said, but in (
        ("Apache-2.0", r"apache(?: software)? licen[sc]e,? ?\(?(?:version|v\.?)? ?2(?:\.0)?\b|"
         r"apache\.org/licenses/license-2\.0|licen[sc]e: apache-2\.0", ""),
        ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy of "
         r"this software and associated documentation files.*above copyright notice and this "
         r"permission notice|" + _GRANT + r"mit(?:/x11)? licen[sc]e|licen[sc]e: mit\b|"
         r"opensource\.org/licenses/mit\b|\bmit licen[sc]e(?:d\b|,? (?:see|\(see)|$)",
         r"modified mit"),
        ("MIT-0", r"permission is hereby granted, free of charge, to any person obtaining a copy "
         r"of this software and associated documentation files.*the software is provided",
         r"permission notice"),
        ("BSD-4-Clause", r"redistribution and use in source and binary forms.*all advertising "
         r"materials", ""),
        ("BSD-3-Clause", r"redistribution and use in source and binary forms.*neither the names?|"
         r"redistribution and use in source and binary forms.*may not be used to endorse|"
         r"(?:3-clause|three-clause|new|modified|revised) bsd\b|bsd[ -]3[ -]clause",
         r"all advertising materials"),
        ("BSD-2-Clause", r"redistribution and use in source and binary forms.*(?:in binary form "
         r"must reproduce).*this software is provided|(?:2-clause|two-clause|simplified) bsd\b|"
         r"bsd[ -]2[ -]clause", r"neither the name|to endorse|all advertising materials"),
        ("MPL-2.0", r"mozilla public licen[sc]e,? \(?(?:version|v\.?) ?2\.0", ""),
        ("ISC", r"permission to use, copy, modify, and(?:/or)? distribute this software for any "
         r"purpose with or without fee is hereby granted, provided", ""),
        ("0BSD", r"permission to use, copy, modify, and(?:/or)? distribute this software for any "
         r"purpose with or without fee is hereby granted\.", ""),
        ("BSL-1.0", r"boost software licen[sc]e,? (?:-|\(?version|v\.?) ?(?:version )?1\.0", ""),
        ("Unlicense", r"this is free and unencumbered software released into the public domain",
         ""),
        ("CC0-1.0", r"\bcc0[ -]1\.0|creativecommons\.org/publicdomain/zero/1\.0", ""),
        ("Zlib", r"provided 'as-is', without any express or implied warranty.*must not be "
         r"misrepresented", ""),
        ("EPL-2.0", r"eclipse public licen[sc]e,? (?:-|\(?version|v\.?) ?v?2\.0", ""),
        ("EPL-1.0", r"eclipse public licen[sc]e,? (?:-|\(?version|v\.?) ?v?1\.0", ""),
    )
)  # fmt: skip
_GNU = re.compile(
    r"gnu (affero |lesser |library )?general public licen[sc]e,?"
    r"(?: \(?(?:as published by the free software foundation[,;:]? ?)?)"
    r".{0,80}?(?:version|v) ?(\d(?:\.\d)?)(.{0,80})"
)
_FAMILY = {"": "GPL", "affero ": "AGPL", "lesser ": "LGPL", "library ": "LGPL"}


def licence_of_file(lead: str) -> str | None:
    """The SPDX expression that the comments before the code state."""
    if not _SPEAKS.search(lead):
        return None
    tag = _TAG.search(lead)
    if tag:
        return _BLANKS.sub(" ", tag[1]).strip(" *-") or None
    return _of_notice(_plain(lead))


def _plain(lead: str) -> str:
    """The words of comments in lower case, without marks and line ends."""
    return _BLANKS.sub(" ", _MARKS.sub(" ", lead)).strip().lower()


@lru_cache(maxsize=4_096)  # a repository's files begin alike
def _of_notice(words: str) -> str | None:
    found = {
        name
        for name, said, but in _NOTICES
        if said.search(words) and not (but and but.search(words))
    }
    found.update(_gnu(words))
    return found.pop() if len(found) == 1 else None


def _gnu(words: str) -> set[str]:
    """The GNU licences that a header names with their versions."""
    found = set()
    for kind, version, after in _GNU.findall(words):
        later = re.match(r".{0,40}any later version|\+| or later| or newer", after) is not None
        number = version if "." in version else f"{version}.0"
        found.add(f"{_FAMILY[kind]}-{number}-{'or-later' if later else 'only'}")
    return found
