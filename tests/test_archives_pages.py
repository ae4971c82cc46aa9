"""Which records are pages, and the charset of their text."""

import pytest
from archive_material import PAGE, read, record, response, told
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.archives import Skipped
from pipeline.archives_charset import MIXED, decode


def test_other_records_are_skipped_with_a_reason(tmp_path):
    content = [
        response("http://a.org/0", PAGE, status=404),
        response("http://a.org/1", PAGE, kind="image/png"),
        response("http://a.org/2", b" \r\n "),
        response("http://a.org/3", b"%PDF\0\0"),
        record("response", b"4 records of DNS"),
        record("invented", b"x"),
        record("revisit", b"x"),
        response("http://a.org/4", b"words", kind="text/plain; charset=ascii"),
        response("http://a.org/5", b"\n<!DOCTYPE html><p>words", kind=""),
    ]
    rows = read(tmp_path, b"".join(content))
    reasons = ["not_200", "not_text", "empty", "not_text", "not_http", "unknown_kind", "revisit"]
    assert [row.reason for row in rows[:7]] == reasons
    assert all(isinstance(row, Skipped) for row in rows[:7])
    assert [(row.is_html, row.content_type) for row in rows[7:]] == [
        (False, "text/plain"), (True, "text/html"),
    ]  # fmt: skip


def test_a_damaged_body_fails_and_a_chunked_one_is_joined(tmp_path):
    chunks = b"7\r\n<p>One \r\n5;x=y\r\ntwo.\n\r\n0\r\n\r\n"
    says = "Transfer-Encoding: chunked"
    rows = read(tmp_path, response("http://a.org/0", chunks, says)
                + response("http://a.org/1", PAGE, says)
                + response("http://a.org/2", chunks[:10], says)
                + response("http://a.org/3", b"\x1f\x8b\x08\x00zz" * 9, "Content-Encoding: gzip"),
                )  # fmt: skip
    assert [row.body for row in rows[:3]] == [b"<p>One two.\n", PAGE, b"<p>One "]
    assert told(rows)[3] == ("Failed", "bad_content_encoding")
    assert rows[3].url == "http://a.org/3"


RUSSIAN = "Приливы и отливы на море зависят от Луны, и об этом написано много книг."


@pytest.mark.parametrize(
    ("body", "header", "charset", "by", "wrong"),
    [
        ("é".encode(), "utf-8", "utf-8", "header", 0),
        ("“é”".encode("cp1252"), "ISO-8859-1", "cp1252", "header", 0),
        (RUSSIAN.encode("cp1251"), "windows-1251", "cp1251", "header", 0),
        (RUSSIAN.encode("cp1251"), "", "cp1251", "detected", 0),
        (RUSSIAN.encode("cp1251"), "utf-8", "cp1251", "detected", 0),  # a wrong header
        (b'<meta charset="koi8-r">' + RUSSIAN.encode("koi8-r"), "", "koi8-r", "meta", 0),
        (b'<meta charset="utf-16">' + "é".encode(), "", "utf-8", "meta", 0),
        ("\ufeffé".encode(), "koi8-r", "utf-8", "bom", 0),
        ("\ufeffé".encode("utf-16"), "", "utf-16-le", "bom", 0),
        (RUSSIAN.encode(), "", "utf-8", "detected", 0),
        (RUSSIAN.encode() + b"\x93!\x94", "utf-8", MIXED, "header", 2),
        (b"plain", "punycode", "utf-8", "detected", 0),  # a codec of Python's, and no charset
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)  # fmt: skip
def test_the_charset_and_who_named_it(body, header, charset, by, wrong):
    found = decode(body, header)
    assert (found.charset, found.charset_by, found.wrong_bytes) == (charset, by, wrong)
    expected = ("é", RUSSIAN, "“é”", "plain", RUSSIAN + "“!”")
    assert found.text.split(">")[-1] in expected


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "utf-8", "gbk", "shift_jis", "utf-16", "x"]))
def test_any_bytes_decode(body, header):
    decode(body, header).text.encode("utf-8")  # no surrogate is left
