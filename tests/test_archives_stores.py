"""Archives at any address: in memory, in S3, behind a wrong name or none that may be read."""

import os

import fsspec
from archive_material import WEB, members, pages, shared, told

from pipeline.archives import Failed, read_archive


def test_an_address_beyond_this_machine_and_one_that_is_not_there(tmp_path):
    content = shared("iana.warc.gz").read_bytes()
    with fsspec.open("memory://crawl/a.warc.gz", "wb") as file:
        file.write(content)
    there = list(read_archive("memory://crawl/a.warc.gz"))
    assert there == list(read_archive(str(WEB / "iana.warc.gz")))
    for address in ("memory://crawl/none.warc.gz", str(tmp_path / "none"), str(tmp_path)):
        (row,) = read_archive(address)
        assert (type(row), row.reason) == (Failed, "unreadable")


def test_a_file_that_may_not_be_read_is_one_row(tmp_path):
    path = tmp_path / "a.warc"
    path.write_bytes(pages(1)[0])
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read everything: be nobody for a moment
        os.seteuid(65_534)
    try:
        (row,) = read_archive(str(path))
    finally:
        os.seteuid(user)
    assert (row.reason, "Permission denied" in row.evidence) == ("unreadable", True)


def test_an_object_in_s3_and_buckets_and_keys_that_are_not_there(store):
    store.pipe("corpus/a.warc.gz", b"".join(members(pages(3))))
    assert [row.url for row in read_archive("s3://corpus/a.warc.gz")] == [
        f"http://a.org/{i}" for i in range(3)
    ]
    for address in ("s3://corpus/b.warc.gz", "s3://no-such-bucket/a.warc.gz"):
        assert told(read_archive(address)) == [("Failed", "unreadable")]


def test_a_file_that_changes_while_it_is_read_says_so(tmp_path):
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(pages(3)))
    rows = read_archive(str(path))
    first = next(rows)
    with path.open("ab") as file:
        file.write(pages(4)[3])
    assert told([first, *rows])[-1] == ("Failed", "changed_while_read")
