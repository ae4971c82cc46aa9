"""A provider with a Batch API: a real server on loopback that keeps files and batches, and errs.

A document says itself what shall go wrong with its line: `line:429*2` fails so twice, and is
answered well after that. What shall become of whole batches is `fates`, one for each that is
created. A batch is done after `looks` looks at it. Every line that was worked on is billed, also
where its answer is lost: a token for each byte of its messages, and the whole of `max_tokens`.
"""

from __future__ import annotations

import email
import json
import random
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from faulty_server import KEY, completion, faulty_server

from pipeline.teacher_config import TeacherConfig

FAULT = re.compile(r"line:(\w+)(?:\*(\d+))?")


class BatchServer(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"
        self.files, self.batches = {}, {}
        self.fates = []  # of the next batches: expired, failed, cancelled, dropped
        self.looks = 2
        self.broken_looks, self.how = 0, 500  # so many of the next looks get that status
        self.has_batches = True
        self.billed = Counter()  # by the user's message: how often it was worked on
        self.tokens = 0
        self.held = threading.Event()  # looks are answered only when it is set
        self.held.set()
        self.released = self.held  # when it closes, nobody is kept waiting
        self.reached = threading.Event()  # set by a look that arrives, answered or not
        self._faults_had = Counter()
        self._lock = threading.Lock()

    def config(self, **fields):
        given = {"model": "teacher-1", "key_variable": "A_KEY", "max_retries": 2,
                 "structured_output": "json_schema", "batch": {"poll_seconds": 0.02},
                 "timeout_seconds": 5, "patience_seconds": 0.5, **fields}  # fmt: skip
        return TeacherConfig(base_url=self.base_url, **given)

    def create(self, request):
        fate = self.fates.pop(0) if self.fates else "completed"
        number = len(self.batches)
        batch = {
            "id": f"batch-{number}", "object": "batch", "endpoint": request["endpoint"],
            "input_file_id": request["input_file_id"], "completion_window": "24h",
            "status": "validating", "created_at": number, "metadata": request["metadata"],
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip
        self.batches[batch["id"]] = {"shown": batch, "looks": 0, "fate": fate}
        return batch, fate

    def look(self, batch_id):
        with self._lock:
            batch = self.batches[batch_id]
            batch["looks"] += 1
            if batch["looks"] == self.looks:
                self._finish(batch["shown"], batch["fate"])
            elif batch["looks"] < self.looks:
                batch["shown"]["status"] = "in_progress"
                batch["shown"]["request_counts"]["completed"] = 1
            return batch["shown"]

    def _finish(self, shown, fate):
        shown["status"] = {"dropped": "completed", "deleted": "completed", "queue_full": "failed",
                           "expired_silently": "expired"}.get(fate, fate)  # fmt: skip
        if shown["status"] == "failed":
            words = f"line 1 is no request; sent with {KEY}"
            code = "token_limit_exceeded" if fate == "queue_full" else "bad"
            shown["errors"] = {"object": "list", "data": [{"code": code, "message": words}]}
            return
        lines = [json.loads(line) for line in self.files[shown["input_file_id"]].splitlines()]
        if shown["status"] in {"expired", "cancelled"}:
            late = lines[len(lines) // 2 :]
            lines = lines[: len(lines) // 2]
        else:
            late = []
        output, errors = [], []
        for line in lines:
            self._work(line, output, errors)
        random.Random(1).shuffle(output)
        errors += [
            json.dumps({"custom_id": line["custom_id"], "response": None,
                        "error": {"code": "batch_expired", "message": "too late"}})
            for line in late
            if fate != "expired_silently"
        ]  # fmt: skip
        for name, rows in (("output_file_id", output), ("error_file_id", errors)):
            if rows:
                shown[name] = f"{shown['id']}-{name}"
                if fate != "deleted":
                    self.files[shown[name]] = ("\n".join(rows) + "\n").encode()
        shown["request_counts"] = {"total": len(lines), "completed": len(lines), "failed": 0}

    def _work(self, line, output, errors):
        assert line["method"] == "POST"
        assert line["url"] == "/v1/chat/completions"
        said = line["body"]["messages"][1]["content"]
        wish = FAULT.search(said)
        fault = None
        if wish and self._faults_had[said] < int(wish[2] or 1):
            self._faults_had[said] += 1
            fault = wish[1]
        if fault in {"429", "500", "400", "quota"}:
            code = "insufficient_quota" if fault == "quota" else fault
            body = {"error": {"message": f"sent with {KEY}", "code": code}}
            response = {"status_code": 429 if fault == "quota" else int(fault), "body": body}
            row = {"custom_id": line["custom_id"], "response": response, "error": None}
            (errors if fault in {"429", "quota"} else output).append(json.dumps(row))
            return
        if fault == "left_out":
            return
        sent = sum(len(m["content"].encode()) for m in line["body"]["messages"])
        self.billed[said] += 1
        self.tokens += sent + line["body"]["max_tokens"]
        choice = {
            "prose": {"content": "I would give it a 3."},
            "broken_letter": {"content": "\ud83d"},
            "echo": {"content": json.dumps({"justification": f"with {KEY}", "score": 3})},
        }.get(fault, {})
        body = json.loads(completion(choice, sent, line["body"]["max_tokens"]))
        if fault == "no_completion":
            body = ["hello"]
        response = {"status_code": 200, "body": body}
        row = json.dumps({"custom_id": line["custom_id"], "response": response, "error": None})
        output.append(row[:-5] if fault == "malformed" else row)
        if fault == "duplicated":
            output.append(row.replace("It explains.", "Another."))
        if fault == "stranger":
            output.append(row.replace(line["custom_id"], "nobody"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: BatchServer

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_welcome():
            return
        if self.path == "/v1/files":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = email.message_from_bytes(head + content).get_payload()
            named = {p.get_param("name", header="content-disposition"): p for p in parts}
            assert named["purpose"].get_payload() == "batch"
            file_id = f"file-{len(self.server.files)}"
            self.server.files[file_id] = named["file"].get_payload(decode=True)
            shown = {"id": file_id, "object": "file", "bytes": 0, "created_at": 0}
            self._say(200, {**shown, "filename": "x", "purpose": "batch", "status": "processed"})
            return
        batch, fate = self.server.create(json.loads(content))
        if fate == "dropped":  # it was created, and nobody was told
            self.close_connection = True
            return
        self._say(200, batch)

    def do_GET(self):
        if not self._is_welcome():
            return
        path = self.path.partition("?")[0].split("/")[2:]
        if path == ["batches"]:
            newest = [b["shown"] for b in self.server.batches.values()][::-1]
            self._say(200, {"object": "list", "data": newest, "has_more": False})
        elif path[0] == "batches":
            self.server.reached.set()
            self.server.held.wait(20)
            if self.server.broken_looks:
                self.server.broken_looks -= 1
                self._send(self.server.how, b"<html>Sign in, please</html>", "text/html")
            elif path[1] not in self.server.batches:
                self._say(404, {"error": {"message": "no such batch"}})
            else:
                self._say(200, self.server.look(path[1]))
        elif path[1] not in self.server.files:
            self._say(404, {"error": {"message": "no such file"}})
        else:
            assert path[2:] == ["content"]
            self._send(200, self.server.files[path[1]])

    def _is_welcome(self):
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._say(401, {"error": {"message": f"wrong: {self.headers['Authorization']}"}})
        elif not self.server.has_batches:
            self._say(404, {"error": {"message": "Not Found"}})
        else:
            return True
        return False

    def _say(self, status, value):
        self._send(status, json.dumps(value).encode())

    def _send(self, status, body, kind="application/json"):
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # who asked was killed meanwhile

    def log_message(self, *_):
        """Nothing on the screen."""


def batch_server():
    """A provider that listens for as long as the block runs."""
    return faulty_server(BatchServer)
