"""What is counted in program text, what each character counts as, and how comments are marked.

Characters of ASCII are told by a table of 128 classes, all others by Python's own `str.isalpha`,
`str.isalnum` and `str.isspace`, packed into a table over Unicode when the first one is met.
"""

from __future__ import annotations

import string
import sys
from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# Bits of a character's class.
SPACE, LETTER, ALNUM, DIGIT, WORD, ENCODED, SEPARATOR, LITERAL = (1 << i for i in range(8))

# Bits of a language's syntax of comments: what begins one, and Python's strings over many lines.
HASH, SLASHES, BLOCK, DASHES, PERCENT, SEMICOLON, ARROW, TRIPLE = (1 << i for i in range(8))
_SYNTAX = {
    HASH | TRIPLE: "python cython pyi bazel meson starlark",
    HASH: "shell ruby perl r yaml toml makefile dockerfile cmake elixir julia tcl awk powershell "
    "nim crystal ini dotenv gdscript coffee fish nushell nix robot gherkin",
    SLASHES | BLOCK: "c c++ c# java javascript typescript jsx tsx go rust kotlin scala swift dart "
    "php groovy objective-c cuda solidity zig less scss sass css proto thrift d f# verilog "
    "system-verilog aspectj hlsl metal vala qml haxe graphql jsonnet cue",
    DASHES | BLOCK: "sql",
    DASHES: "lua luau haskell ada vhdl elm purescript lean idris",
    PERCENT: "tex matlab erlang prolog",
    SEMICOLON: "lisp clojure scheme racket asm llvm",
    ARROW: "html xml vue svelte markdown xaml svg",
    HASH | BLOCK: "terraform hcl",
}
SYNTAX = {language: bits for bits, names in _SYNTAX.items() for language in names.split()}


class Count(IntEnum):
    """Columns of the counts of a text. A line ends at a newline, a carriage return before it left
    out; "full" is what holds more than white space of ASCII."""

    CHARS = 0
    SPACES = 1  # white space
    LETTERS = 2
    ALNUMS = 3
    DIGITS = 4  # ASCII
    NON_ASCII = 5
    LINES = 6
    FULL_LINES = 7
    LINE_CHARS = 8
    MAX_LINE_CHARS = 9
    COMMENT_LINES = 10  # comments that have a line for themselves, and Python's docstrings
    COMMENT_CHARS = 11
    REPEATED_LINES = 12  # full lines of two characters or more that stand elsewhere too
    LITERAL_LINES = 13  # full lines that begin with a quote, a digit, a sign or a bracket
    ENCODED_CHARS = 14
    LONGEST_ENCODED_CHARS = 15
    HEX_NUMBER_CHARS = 16  # 0x...
    UNDONE_LINES = 17  # lines that say "todo" or "fixme"
    ASSERT_LINES = 18
    IMPORT_LINES = 19
    FUNCTION_LINES = 20
    PASS_LINES = 21
    PRINT_LINES = 22
    TEST_FUNCTIONS = 23  # "def test..."


COUNTS = len(Count)


@lru_cache(maxsize=1)
def character_classes() -> npt.NDArray[np.uint8]:
    """uint8[0x110000]: the class of each code point."""
    every = [chr(point) for point in range(sys.maxunicode + 1)]
    classes = np.zeros(len(every), np.uint8)
    for bit, ask in ((SPACE, str.isspace), (LETTER, str.isalpha), (ALNUM, str.isalnum)):
        classes |= np.fromiter(map(ask, every), np.uint8, len(every)) * np.uint8(bit)
    for bit, letters in (
        (DIGIT, string.digits),
        (WORD, string.ascii_letters + string.digits + "_"),
        (ENCODED, string.ascii_letters + string.digits + "+/=\r\n"),
        (SEPARATOR, " \t\r\n,'\""),
        (LITERAL, string.digits + "\"'-+()[]{}<>,."),
    ):
        classes[[ord(c) for c in letters]] |= np.uint8(bit)
    classes.flags.writeable = False
    return classes
