"""The language of program text by its file's name, else by its first lines; null where not known.

Names are told by the tables of the package `identify`, which pre-commit uses; a name that stands
for several languages (`.h`, `.inc`), or for a notebook, gives none. Without a telling name, the
interpreter of a `#!` line counts, then a mode line of Emacs or vim. Nothing is guessed from the
code itself: pygments' `guess_lexer` took 16 % of 300 shared Python files for something else, in 8
ms each.

Source: https://github.com/pre-commit/identify; mode lines as in https://github.com/github-linguist.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache

from identify import identify

# Tags of `identify` that say more, or less, than the language.
_NO_LANGUAGE = {
    "text", "header", "image", "lektorproject", "zip", "jar", "audio", "video", "font",
    "plain-text", "manifest", "map", "def", "inc", "spec", "pem", "diff", "inl",
}  # fmt: skip
_KINDS = {  # of several tags, the one that is the language
    "shell", "python", "ruby", "c++", "c#", "f#", "clojure", "scala", "groovy", "pascal", "erlang",
    "json", "ini", "yaml", "toml", "xml", "bazel", "php", "perl", "javascript",
}  # fmt: skip
_NAMES = {"ts": "typescript", "pyi": "python", "java-properties": "properties", "jade": "pug"}
_MODES = {
    "sh": "shell", "bash": "shell", "zsh": "shell", "ksh": "shell", "cpp": "c++", "cc": "c++",
    "cs": "c#", "csharp": "c#", "fsharp": "f#", "js": "javascript", "js2": "javascript",
    "ts": "typescript", "python3": "python", "python2": "python", "make": "makefile",
    "dosini": "ini", "conf": "ini", "nxml": "xml", "sgml": "xml", "latex": "tex", "cperl": "perl",
    "emacs-lisp": "lisp", "elisp": "lisp", "caml": "ocaml", "tuareg": "ocaml", "golang": "go",
}  # fmt: skip
_KNOWN_MODES = {
    "python", "ruby", "perl", "c", "c++", "java", "javascript", "typescript", "php", "go", "rust",
    "lua", "tcl", "r", "sql", "haskell", "ocaml", "lisp", "scheme", "clojure", "erlang", "elixir",
    "tex", "makefile", "cmake", "yaml", "json", "toml", "ini", "xml", "html", "css", "shell",
    "fortran", "pascal", "vhdl", "verilog", "kotlin", "scala", "swift", "objc", "groovy", "julia",
}  # fmt: skip
_EMACS = re.compile(r"-\*-(?:[^\n]*?\bmode:)?\s*([\w+#-]+)\s*(?:;[^\n]*?)?-\*-", re.I)
_VIM = re.compile(r"\b(?:vim?|ex):.*?\b(?:ft|filetype|syntax|syn)=([\w+#-]+)", re.I)


def tell_language(path: str, head: str) -> str | None:
    """The language in lower case, by the path or URL of a file, else by its first lines."""
    name = path.rpartition("/")[2]
    return by_name(name) or _by_interpreter(head) or _by_mode(head)


@lru_cache(maxsize=65_536)
def by_name(name: str) -> str | None:
    """The language that a file's name stands for."""
    return _of_tags(identify.tags_from_filename(name))


def _of_tags(tags: set[str]) -> str | None:
    is_text = "text" in tags or "binary" not in tags
    told = tags - _NO_LANGUAGE if is_text and "jupyter" not in tags else set()
    several = told & _KINDS if len(told) > 1 and "c" not in told else told
    if len(several) != 1:
        return None
    found = several.pop()
    return _NAMES.get(found, found)


def _by_interpreter(head: str) -> str | None:
    if not head.startswith("#!"):
        return None
    command = identify.parse_shebang(io.BytesIO(head[:500].encode("utf-8", "replace")))
    return _of_tags(set(identify.tags_from_interpreter(command[0]))) if command else None


def _by_mode(head: str) -> str | None:
    if "-*-" not in head[:1_000] and "vi" not in head[:1_000]:
        return None
    first = "\n".join(head[:1_000].split("\n", 5)[:5])
    found = _EMACS.search(first) or _VIM.search(first)
    if found is None:
        return None
    mode = found[1].lower().removesuffix("-mode")
    mode = _MODES.get(mode, mode)
    return mode if mode in _KNOWN_MODES else None
