"""A teacher with tastes: it takes some ways of asking for JSON, heeds fewer, and refuses fields.

It answers to the schema that it knows of: that of a structure which it heeds, or the one that it is
told in words. Where it knows of none it says hello, in JSON if it was asked for JSON.
"""

import json
import re

from faulty_server import LABEL, FaultyServer, Handler, completion, faulty_server

ALL = frozenset({"json_schema", "json_object_schema", "json_object", "text"})
TOLD = re.compile(r"fits this JSON schema: (\{.*\})")
STYLES = {
    "bare": "{}",
    "fence": "Here it is:\n```json\n{}\n```\n",
    "thought": "<think>\nIs {{}} wanted?\n</think>\n\n{}",
}


class ChoosyServer(FaultyServer):
    """Its tastes are plain attributes."""

    def __init__(self):
        super().__init__(_Handler)
        self.takes, self.heeds = ALL, ALL  # others are refused; others are ignored
        self.refusal = 400
        self.refused_fields = frozenset()  # max_tokens, temperature, system
        self.repeats_the_request = False  # in its refusals
        self.style = "bare"
        self.is_weak = False  # it only ever says hello
        self.prefix, self.models_status, self.models_type = "/v1", 200, "application/json"

    def at(self, path):
        """The server, named in a recipe as its address with this path."""
        self.base_url = f"http://127.0.0.1:{self.server_port}{path}"
        return self


class _Handler(Handler):
    server: ChoosyServer

    def do_GET(self):  # noqa: N802
        server, home = self.server, self.path == "/models"
        if self.path == f"{server.prefix}/models":
            self.say(server.models_status, "{}", {"Content-Type": server.models_type})
        elif home and server.prefix != "":
            self.say(200, "<html>", {"Content-Type": "text/html"})  # a page for people
        else:
            self.refuse(404, "no such page")

    def do_POST(self):  # noqa: N802
        if self.path == f"{self.server.prefix}/chat/completions":
            super().do_POST()
        else:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.refuse(404, "no such page")

    def work(self, request, fault):
        if fault is not None:
            super().work(request, fault)
            return
        server, structure = self.server, _structure_of(request)
        complaint = self._complaint(request, structure)
        if complaint:
            if server.repeats_the_request:
                complaint += f" in {json.dumps(request)}"
            self.refuse(server.refusal, complaint)
            return
        sent = sum(len(m["content"].encode()) for m in request["messages"])
        limit = request.get("max_tokens") or request["max_completion_tokens"]
        server.bill(sent, limit)
        self.say(200, completion({"content": self._answer(request, structure)}, sent, limit))

    def _complaint(self, request, structure):
        refused = self.server.refused_fields
        if "max_tokens" in refused and "max_tokens" in request:
            return "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        if "temperature" in refused and "temperature" in request:
            return "Unsupported value: 'temperature' does not support 0.0 with this model."
        if "system" in refused and any(m["role"] == "system" for m in request["messages"]):
            return "System role not supported"
        return None if structure in self.server.takes else "This response_format is not available."

    def _answer(self, request, structure):
        told = TOLD.search(request["messages"][0]["content"])
        form = request.get("response_format", {})
        schema = (
            form.get("json_schema", form).get("schema") if structure in self.server.heeds else None
        )
        schema = schema or (told and json.loads(told[1]))
        if self.server.is_weak or not schema:
            is_json = structure != "text" and structure in self.server.heeds
            return '{"greeting": "hello"}' if is_json and not self.server.is_weak else "Hello!"
        answer = '{"ready": true}' if "ready" in schema["properties"] else LABEL
        return STYLES[self.server.style].format(answer)


def _structure_of(request):
    form = request.get("response_format", {"type": "text"})
    return "json_object_schema" if "schema" in form else form["type"]


def choosy_server():
    """As `faulty_server`."""
    return faulty_server(ChoosyServer)
