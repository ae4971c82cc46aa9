"""A Hugging Face hub of one dataset on loopback: the three answers that reading it takes."""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[str]:
    """The address of a hub that holds `datasets/owner/name` with these files."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            if path in {"/api/datasets/owner/name", "/api/datasets/owner/name/revision/main"}:
                self.answer(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": []}))
            elif path.startswith("/api/datasets/owner/name/tree/"):
                folders = sorted({name.rpartition("/")[0] for name in files} - {""})
                tree = [{"type": "directory", "oid": "0" * 40, "path": name} for name in folders]
                self.answer(json.dumps([*tree, *(self.entry(name) for name in files)]))
            elif found := re.fullmatch("/datasets/owner/name/resolve/[^/]+/(.*)", path):
                self.answer(files[found[1]])
            else:
                self.answer("", 404)

        do_HEAD = do_GET  # noqa: N815

        @staticmethod
        def entry(name):
            oid = hashlib.sha1(files[name]).hexdigest()  # noqa: S324
            return {"type": "file", "oid": oid, "size": len(files[name]), "path": name}

        def answer(self, body, status=200):
            body = body.encode() if isinstance(body, str) else body
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            whole = len(body)
            if asked:
                start, stop = int(asked[1]), int(asked[2] or whole - 1)
                body, status = body[start : stop + 1], 206
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            if asked:
                end = start + len(body) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{whole}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
