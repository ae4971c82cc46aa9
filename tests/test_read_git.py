"""Git repositories, bare and not, made with the real git, with its own and with crafted packs."""

import json
import os
import shutil
import subprocess
import zlib

import pytest
from dulwich.objects import Commit, Tree
from dulwich.repo import Repo
from identify.vendor.licenses import LICENSES
from source_reading import read, reasons, source

from pipeline.errors import InputError
from pipeline.read_git_sizes import object_sizes
from pipeline.read_source import Limits, read_piece
from pipeline.sources_plan import list_source, make_pieces

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

MIT = "Copyright (c) 2026 Someone\n\n" + dict(LICENSES)["MIT"]


def git(where, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c",
         "init.defaultBranch=main", "-C", str(where), *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def put(where, files):
    for name, content in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(where, "add", "-A")
    git(where, "commit", "-qm", "more")


@pytest.fixture
def work(tmp_path):
    where = tmp_path / "owner" / "project"
    where.mkdir(parents=True)
    git(where, "init", "-q")
    long = "".join(f"line_{i} = {i * i}\n" for i in range(400))
    put(where, {"LICENSE": MIT, "src/a.py": long, "docs/b.md": "# Old\n"})
    git(where, "tag", "v1")
    (where / "link").symlink_to("src/a.py")
    put(where, {"src/a.py": long + "last = 1\n", "docs/b.md": "# New\n", "logo.png": b"\x89PNG\0",
                "latin.txt": b"caf\xe9", "large.txt": "x" * 20_000})  # fmt: skip
    return where


def test_a_repository_is_read_at_its_head_with_commit_and_licence_file(work):
    documents, rejects = read(work, format="git", kind="code", exclude=["docs/*"])
    assert [d["url_or_path"] for d in documents] == ["project/LICENSE", "project/src/a.py"]
    assert {d["group"] for d in documents} == {"here/project"}
    assert {d["licence"] for d in documents} == {"MIT"}
    facts = json.loads(documents[1]["metadata"])
    assert facts["commit"] == git(work, "rev-parse", "HEAD")
    assert facts["licence_file"] == "LICENSE"
    assert documents[1]["text"].endswith("last = 1\n")
    assert reasons(rejects) == {"project/logo.png": "binary", "project/latin.txt": "undecodable",
                                "project/large.txt": "too_large"}  # fmt: skip


def test_a_licence_that_is_not_known_is_null(work):
    put(work, {"LICENSE": "You may read this on Sundays."})
    documents, _ = read(work, format="git")
    assert {d["licence"] for d in documents} == {None}


def test_bare_and_packed_and_at_a_tag_it_is_the_same(work, tmp_path):
    bare = tmp_path / "bare" / "project.git"
    git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    git(bare, "gc", "-q", "--aggressive")
    assert read(bare) == read(work, format="git")  # a bare one is told by its look
    old, _ = read(bare, revision="v1")
    assert [d["text"] for d in old if d["url_or_path"].endswith("b.md")] == ["# Old\n"]
    assert read(bare, revision=git(work, "rev-parse", "v1^{commit}"))[0] == old


def test_repositories_below_a_directory_are_groups(work, tmp_path):
    other = tmp_path / "owner" / "other"
    shutil.copytree(work, other)
    documents, _ = read(tmp_path, format="git", include=["*.py"])
    assert [d["group"] for d in documents] == ["here/owner/other", "here/owner/project"]
    assert len({d["doc_id"] for d in documents}) == 2


def test_a_missing_object_costs_its_file(work):
    sha = git(work, "rev-parse", "HEAD:src/a.py")
    (work / ".git" / "objects" / sha[:2] / sha[2:]).unlink()
    (work / ".git" / "objects" / "pack").mkdir(exist_ok=True)
    documents, rejects = read(work, format="git")
    assert reasons(rejects)["project/src/a.py"] == "missing_object"
    assert {d["url_or_path"] for d in documents} == {"project/LICENSE", "project/docs/b.md"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"revision": "v9"}, "no revision 'v9'"), ({"include": ["*.rs"]}, "")],
)
def test_what_is_not_there_names_itself(work, fields, said):
    if said:
        with pytest.raises(InputError, match=f"source 'here': .*{said}.*ingest.sources.revision"):
            read(work, format="git", **fields)
    else:
        assert read(work, format="git", **fields) == ([], [])


def test_no_repository_names_itself(tmp_path):
    with pytest.raises(InputError, match="there is no git repository"):
        read(tmp_path, format="git")


def test_the_sizes_of_packed_objects_are_those_of_git(work):
    git(work, "gc", "-q", "--aggressive")
    listed = git(work, "cat-file", "--batch-all-objects", "--batch-check")
    kinds = set()
    with Repo(str(work)) as repo:
        for line in listed.splitlines():
            sha, _, size = line.split()
            own, *bases = object_sizes(repo.object_store, sha.encode())
            assert own == int(size)
            kinds.add(bool(bases))
    assert kinds == {True, False}  # some are deltas


def test_a_bomb_is_refused_by_its_header(tmp_path):
    """A loose blob that says to be of 1 GB: what it really holds is never looked at."""
    repo = Repo.init_bare(str(tmp_path / "b.git"), mkdir=True)
    size = 1 << 30
    packer = zlib.compressobj(1)
    packed = packer.compress(b"blob %d\0" % size)
    packed += packer.compress(bytes(1 << 20)) + packer.flush()
    fake = b"ab" * 20
    place = tmp_path / "b.git" / "objects" / fake[:2].decode() / fake[2:].decode()
    place.parent.mkdir()
    place.write_bytes(packed)
    tree = Tree()
    tree.add(b"bomb.txt", 0o100644, fake)
    commit = Commit()
    commit.tree, commit.message = tree.id, b"x"
    commit.author = commit.committer = b"a <a@example.org>"
    commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
    for made in (tree, commit):
        repo.object_store.add_object(made)
    repo.refs[b"refs/heads/master"] = commit.id
    repo.close()
    documents, (refused,) = read(tmp_path / "b.git")
    assert documents == []
    assert refused["reason"] == "too_large"
    assert refused["evidence"] == f"{size} bytes"


def test_a_repository_of_a_name_that_is_no_text_and_one_that_went_away(tmp_path, work):
    os.rename(os.fsencode(work), os.fsencode(tmp_path / "owner") + b"/\xff")
    documents, _ = read(tmp_path, format="git")
    assert {d["group"] for d in documents} == {"here/owner/\\xff"}
    given = source(tmp_path, format="git")
    (piece,) = make_pieces([list_source(given)])
    shutil.rmtree(tmp_path / "owner")
    (refusal,) = read_piece(given, piece, Limits(10_000))
    assert refusal.reason == "unreadable"


def test_a_folder_that_cannot_be_listed_is_a_refusal(tmp_path, work, monkeypatch):
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):  # as for anybody but root, whom no permission stops
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    documents, rejects = read(tmp_path, format="git")
    assert documents
    assert reasons(rejects)["closed"] == "unreadable"
