"""The language, the licence, the notice and the syntax of program files."""

import json
import sys
from pathlib import Path

import pytest
from identify.vendor.licenses import LICENSES

from pipeline.clean_rules import Verdict
from pipeline.code_header import lead_of, strip_notice
from pipeline.code_language import tell_language
from pipeline.code_licence import licence_of_file
from pipeline.code_licence_rules import LicenceRules, judge_licence
from pipeline.code_licence_texts import is_licence_file, licence_of_text
from pipeline.code_syntax import check_python

ROOT = Path(__file__).parents[1]

MIT = dict(LICENSES)["MIT"]
BSD = dict(LICENSES)["BSD-3-Clause"]
APACHE = (
    '# Licensed under the Apache License, Version 2.0 (the "License");\n# you may not use this\n'
)
GPL = (
    "/* This program is free software: you can redistribute it and/or modify it under the terms of"
    "\n * the GNU General Public License as published by the Free Software Foundation, either\n"
    " * version 3 of the License, or (at your option) any later version. */\n"
)


@pytest.mark.parametrize(
    ("path", "head", "language"),
    [
        ("src/a.py", "", "python"),
        ("a.PY", "", "python"),
        ("https://x.org/a/b.rs", "", "rust"),
        ("a.ts", "", "typescript"),
        ("a.hpp", "", "c++"),
        ("a.h", "", None),  # C, C++ or Objective-C
        ("a.inc", "", None),
        ("Makefile", "", "makefile"),
        ("Dockerfile.dev", "", "dockerfile"),
        ("pom.xml", "", "xml"),
        ("a.png", "", None),
        ("a.wav", "", None),
        ("notes.ipynb", "", None),
        ("README", "", None),
        ("run", "#!/usr/bin/env python3\n", "python"),
        ("run", "#!/bin/bash -e\n", "shell"),
        ("run", "#!/usr/bin/env -S node --x\n", "javascript"),
        ("run", "#! \n", None),
        ("run", "#!/opt/unheard\n", None),
        ("run", "# -*- mode: ruby; tab: 2 -*-\n", "ruby"),
        ("run", "// -*- C++ -*-\n", "c++"),
        ("run", "# -*- coding: utf-8 -*-\n", None),
        ("run", "# vim: set ft=perl ts=4:\n", "perl"),
        ("run", "import os\n", None),
        ("", "", None),
    ],
)
def test_the_language_is_told_by_name_then_by_first_lines(path, head, language):
    assert tell_language(path, head) == language


def commented(text, mark):
    return "".join(f"{mark} {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */\n", "(GPL-2.0 OR MIT)"),
        ("<!-- SPDX-License-Identifier: CC0-1.0 -->\n", "CC0-1.0"),
        (APACHE, "Apache-2.0"),
        (commented(MIT, "#"), "MIT"),
        (commented(BSD, "//"), "BSD-3-Clause"),
        (commented(dict(LICENSES)["BSD-2-Clause"], " *"), None),  # outside a comment
        ("/*\n" + commented(dict(LICENSES)["BSD-2-Clause"], " *") + "*/", "BSD-2-Clause"),
        (commented(dict(LICENSES)["ISC"], ";"), "ISC"),
        (commented(dict(LICENSES)["Zlib"], "--"), "Zlib"),
        (commented(dict(LICENSES)["Unlicense"], "%"), "Unlicense"),
        (GPL, "GPL-3.0-or-later"),
        (GPL.replace(", or (at your option) any later version", ""), "GPL-3.0-only"),
        (GPL.replace("GNU General", "GNU Lesser General"), "LGPL-3.0-or-later"),
        (GPL.replace("GNU General", "GNU Affero General"), "AGPL-3.0-or-later"),
        ("# Distributed under the MIT license, see LICENSE\n", "MIT"),
        ("# BSD license, see LICENSE\n", None),
        (commented("Modified MIT License\n" + MIT, "#"), None),
        (APACHE + "# or released under the MIT license\n", None),  # one of them, or both?
        ("# Copyright 2020 A. Person\n", None),
        ('x = "SPDX-License-Identifier: MIT"\n', None),
        ("", None),
    ],
)
def test_the_licence_is_what_the_first_comments_say(head, licence):
    assert licence_of_file(lead_of(head + "import os\n")) == licence


def test_the_texts_of_licences_are_known_with_other_lines_and_holders():
    for name, text in LICENSES:
        assert licence_of_text(text) == name
    changed = "The MIT License (MIT)\n\nCopyright (c) 2019, A. Person\n" + MIT.partition("\n\n")[2]
    assert licence_of_text(" ".join(changed.split())) in {"MIT", None}
    assert licence_of_text(BSD.replace("the copyright holder", "Example Ltd")) == "BSD-3-Clause"


def test_what_is_no_single_known_licence_is_null():
    assert licence_of_text(MIT + BSD) is None
    assert licence_of_text("All rights reserved. You may look at this.") is None
    assert licence_of_text("") is None
    assert licence_of_text("x" * 300_000) is None


def test_the_licence_file_of_this_repository_and_its_name():
    assert is_licence_file("LICENSE")
    assert is_licence_file("licence.md")
    assert not is_licence_file("vendor/LICENSE")
    assert licence_of_text((ROOT / "LICENSE").read_text()) is not None


@pytest.mark.parametrize(
    ("licence", "rules", "verdict"),
    [
        ("MIT", {}, None),
        (None, {}, None),
        (None, {"unknown": "drop"}, ("licence_unknown", "null")),
        ("MIT", {"allow": ["MIT", "Apache-2.0"]}, None),
        ("mit", {"allow": ["MIT"]}, None),
        ("GPL-3.0-only", {"allow": ["MIT"]}, ("licence_not_allowed", "GPL-3.0-only")),
        ("GPL-3.0-only", {"deny": ["GPL-*"]}, ("licence_denied", "GPL-3.0-only")),
        ("LGPL-3.0-only", {"deny": ["GPL-*"]}, None),
        ("MIT OR GPL-3.0-only", {"allow": ["MIT"]}, None),
        ("MIT AND GPL-3.0-only", {"allow": ["MIT"]}, "licence_not_allowed"),
        ("MIT AND (Zlib OR GPL-3.0-only)", {"deny": ["GPL-*"]}, None),
        ("(MIT OR Zlib) AND GPL-3.0-only", {"deny": ["GPL-*"]}, "licence_denied"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"allow": ["GPL-2.0-only"]}, None),
        ("MIT-0 (sample code)", {"allow": ["MIT-0"]}, "licence_not_allowed"),
        ("MIT OR", {"allow": ["MIT"]}, "licence_not_allowed"),
        ("((MIT)", {"allow": ["MIT"]}, "licence_not_allowed"),
        ("", {"allow": ["MIT"]}, "licence_not_allowed"),
    ],
)
def test_lists_of_licences_read_spdx_expressions(licence, rules, verdict):
    found = judge_licence(licence, LicenceRules(**rules))
    expected = Verdict(*verdict) if isinstance(verdict, tuple) else verdict
    assert found == expected if not isinstance(verdict, str) else found.reason == verdict


NOTICE = "# Copyright 2020 A. Person\n# Licensed under the MIT License.\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (NOTICE + "\nimport os\n", "import os\n"),
        ("#!/bin/sh\n" + NOTICE + "\nls\n", "#!/bin/sh\n\nls\n"),
        ("# -*- coding: utf-8 -*-\n" + NOTICE + "x = 1\n", "# -*- coding: utf-8 -*-\nx = 1\n"),
        ("\ufeff" + NOTICE + "x = 1\n", "\ufeffx = 1\n"),
        ("# What it does\n\n" + NOTICE + "\nx = 1\n", "# What it does\n\nx = 1\n"),
        (NOTICE + "\n# What it does\nx = 1\n", "\n# What it does\nx = 1\n"),
        ("/* Copyright 2020 */\nint x;\n", "int x;\n"),
        ("/* What it does */\nint x;\n", "/* What it does */\nint x;\n"),
        ("#include <a.h>\n// Copyright 2020\n", "#include <a.h>\n// Copyright 2020\n"),
        ('"""Copyright 2020."""\nx = 1\n', '"""Copyright 2020."""\nx = 1\n'),
        ("x = 1\n" + NOTICE, "x = 1\n" + NOTICE),
        (NOTICE.replace("\n", "\r\n") + "\r\nx = 1\r\n", "x = 1\r\n"),
        (NOTICE, ""),
        ("", ""),
        ("  \n\n", "  \n\n"),
    ],
)
def test_notices_go_and_everything_else_stays(text, left):
    assert strip_notice(text) == left


def test_a_long_beginning_costs_no_more_than_its_length():
    assert lead_of("/* " * 4_000) == ""
    assert strip_notice("#" * 100_000 + "\nx") == "#" * 100_000 + "\nx"
    assert lead_of('"""' + "a\n" * 4_000) == ""


@pytest.mark.parametrize(
    ("source", "flag"),
    [
        ("x = 1\n", None),
        ("\ufeffx = 1\n", None),
        ('x = "\\d"\n', None),  # a warning of the parser is no error
        ('print "x"\n', "python2"),
        ("try:\n    f()\nexcept E, e:\n    pass\n", "python2"),
        ("try:\n    f()\nexcept A, B:\n    pass\n", None),  # Python 3.14
        ("x = 0777\n", "python2"),
        ("x = 10L\n", "python2"),
        ("if x <> y: pass\n", "python2"),
        ("x = `y`\n", "python2"),
        ("f = lambda (a, b): a\n", "python2"),
        ("exec 'x = 1'\n", "python2"),
        ("raise E, 'x'\n", "python2"),
        ("type X = int\n", None),
        ("class A[T]:\n    x: T\n", None),
        ("def f(:\n", "unparsable"),
        ("from {{ name }} import x\n", "unparsable"),
        ('x = """cut short', "unparsable"),
        ("x = 1\x00\n", "unparsable"),
        ("(" * 5_000 + ")" * 5_000, "unparsable"),
    ],
)
def test_python_that_does_not_parse_is_old_or_broken(source, flag):
    found = check_python(source)
    assert (found.flag if found else None) == flag


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="3.14 parses it itself")
def test_evidence_of_syntax_names_the_line():
    assert check_python('x = 1\nprint "y"\n').evidence.startswith("line 2: ")
    assert json.dumps(check_python("def f(:\n")) == json.dumps(
        ["unparsable", "line 1: invalid syntax"]
    )
