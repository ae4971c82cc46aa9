"""What the catalog refuses: strangers, forged forms, other hosts, guesses, paths, hostile text."""

import re
import shutil
from html.parser import HTMLParser

import pytest
from catalog_server import TOKEN, XSS, client, form_token, seal_run, sign_in
from made_once import made_once
from starlette.routing import Route

from catalog.app import make_app
from catalog.security import HEADERS, WINDOW_S, WRONG_TOKENS, WrongTokens, is_our_host
from catalog.serve import TOKEN as VARIABLE
from catalog.serve import open_settings, serve_catalog
from catalog.sessions import COOKIE, Session, Sessions
from catalog.settings import Settings
from catalog.signing_in import within_catalog
from pipeline.errors import InputError, StageError
from pipeline.signed_delivery import DeliveryError

OURS = {"origin": "http://localhost"}
PAGES = ("", "/card", "/lineage", "/models", "/handoff", "/samples", "/waterfall", "/filter",
         "/contamination", "/review")  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    return made_once("catalog-hostile", lambda place: seal_run(place / "run", XSS))


def every_route(runs):
    """(method, address) of every route of the application, with names that may exist."""
    names = {"run": "run", "stage": "card", "name": "plots/good.png", "doc_id": "d"}
    for route in make_app(Settings(runs)).routes:
        assert isinstance(route, Route)
        address = re.sub(r"{(\w+)(:\w+)?}", lambda found: names.get(found[1], "x"), route.path)
        for method in sorted(route.methods - {"HEAD"}):
            yield method, address


def test_every_answer_carries_the_headers(runs):
    browser = client(runs, token=TOKEN)
    asked = [*every_route(runs), ("GET", "/nowhere"), ("DELETE", "/"), ("GET", "/runs/nowhere")]
    assert len(asked) > 20
    for method, address in asked:
        answer = browser.request(method, address)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (method, address, name)
        if "text/html" in answer.headers.get("content-type", ""):
            assert answer.headers["cache-control"] == "no-store", address


def test_the_policy_allows_nothing_inline():
    policy = HEADERS["content-security-policy"]
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def test_a_failure_of_ours_says_nothing_and_carries_the_headers(runs, caplog):
    app_client = client(runs)
    app_client.app.state.index = None
    answer = app_client.get("/")
    assert answer.status_code == 500
    assert "its log says why" in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert "AssertionError" in caplog.text


class Elements(HTMLParser):
    """Which elements a page has, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("rest", PAGES)
def test_hostile_text_stays_text(runs, rest):
    check_page(client(runs).get(f"/runs/run{rest}"))


@pytest.mark.parametrize("address", ["/", "/?q=" + XSS, "/compare?a=run&b=run", "/runs/" + XSS,
                                     "/login?next=" + XSS, "/compare?a=" + XSS])  # fmt: skip
def test_hostile_addresses_stay_text(runs, address):
    check_page(client(runs, token=TOKEN).get(address))


def check_page(answer):
    assert answer.status_code in {200, 404, 409}
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text
    assert "49" not in re.findall(
        r"\{\{.{0,5}\}\}|\b49\b", answer.text
    )  # {{7*7}} is not worked out
    for tag, attributes in Elements(answer.text).found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        assert tag not in {"style", "iframe", "object", "embed", "base", "noscript"}
        if tag == "script":
            assert attributes == {"src": "/enhance.js", "defer": None}
        for name in ("href", "src", "action"):
            value = attributes.get(name) or ""
            assert not re.match(r"\s*(javascript|data|vbscript):", value, re.IGNORECASE)


@pytest.mark.parametrize(
    "address",
    [
        "/runs/../run",
        "/runs/..%2f..%2fetc",
        "/runs/%2e%2e",
        "/runs/.",
        "/runs/run/files/card/../../recipe.yaml",
        "/runs/run/files/card/..%2f..%2frecipe.yaml",
        "/runs/run/files/card/%2e%2e/recipe.yaml",
        "/runs/run/files/..%2frun/recipe.yaml",
        "/runs/run/files/card/%2fetc%2fpasswd",
        "/runs/run/files/card//etc/passwd",
        "/runs/run/files/card/manifest.json",
        "/runs/run/files/card/plots%5cgood.png",
        "/runs/run/files/card/plots/good.png%00.png",
        "/runs/run%00",
    ],
)
def test_nothing_outside_the_manifests_is_sent(runs, address):
    answer = client(runs).get(address)
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_a_link_out_of_a_sealed_directory_is_not_followed(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "secret.png").write_bytes(b"secret")
    picture = tmp_path / "runs" / "run" / "09-card" / "plots" / "good.png"
    picture.unlink()
    picture.symlink_to(tmp_path / "secret.png")
    answer = client(tmp_path / "runs").get("/runs/run/files/card/plots/good.png")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.168.1.7", True),
        ("catalog.example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("catalog.example.evil", False),
        ("", False),
        ("localhost:x", False),
        ("[::1", False),
        ("evil.example@localhost", True),  # the part before @ is no host
    ],
)
def test_a_host_that_somebody_turned_to_us_is_refused(runs, host, ours):
    assert is_our_host(host, frozenset({"catalog.example"})) is ours
    answer = client(runs, hosts=frozenset({"catalog.example"})).get("/", headers={"host": host})
    assert (answer.status_code == 200) is ours


def test_a_wrong_token_lets_nobody_in(runs):
    browser = client(runs, token=TOKEN)
    for wrong in ("", "x", TOKEN[:-1], TOKEN + "x"):
        answer = sign_in(browser, wrong)
        assert answer.status_code == 401
        assert TOKEN not in answer.text
    assert browser.post("/runs/run/handoff/start", headers=OURS).status_code == 401


def test_guessing_is_slowed_down(runs):
    browser = client(runs, token=TOKEN)
    for _ in range(WRONG_TOKENS):
        assert sign_in(browser, "wrong").status_code == 401
    refused = sign_in(browser)  # even the right one, or else it would say which is right
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_S
    bearer = {"authorization": "Bearer wrong"}
    assert browser.get("/", headers=bearer).status_code == 429


def test_wrong_tokens_are_forgotten_after_a_while():
    now = [0.0]
    guesses = WrongTokens(lambda: now[0])
    for _ in range(WRONG_TOKENS):
        guesses.check("a")
        guesses.count("a")
    with pytest.raises(Exception, match="Too many"):
        guesses.check("a")
    guesses.check("b")
    now[0] = WINDOW_S + 1
    guesses.check("a")


def test_the_right_token_opens_a_new_session(runs):
    browser = client(runs, token=TOKEN)
    browser.get("/login")
    before = browser.cookies[COOKIE]
    answer = sign_in(browser, path="/runs/run/handoff")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/runs/run/handoff"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert before.split(":")[0] != browser.cookies[COOKIE].split(":")[0]
    assert "Sign out" in browser.get("/").text
    form = {"csrf": form_token(browser, "/")}
    assert browser.post("/logout", data=form, headers=OURS).status_code == 303
    assert "Sign in" in browser.get("/").text


def test_a_forged_or_old_cookie_is_a_new_session():
    mine, theirs = Sessions(100, secure=True), Sessions(100, secure=True)
    cookie = theirs.cookie(Session("x", signed_in=True)).partition("=")[2].partition(";")[0]
    assert theirs.read(cookie).signed_in
    assert not mine.read(cookie).signed_in
    assert not theirs.read(cookie.replace("in", "in2", 1)).signed_in
    assert not theirs.read(None).signed_in
    short = Sessions(-1, secure=False)
    old = short.cookie(Session("x", signed_in=True)).partition("=")[2].partition(";")[0]
    assert not short.read(old).signed_in
    assert "; Secure" in mine.cookie(Session("x"))
    assert "; Secure" not in short.cookie(Session("x"))


def test_a_forged_form_is_refused(runs):
    browser = client(runs, token=TOKEN)
    assert sign_in(browser).status_code == 303
    good = form_token(browser, "/")
    address = "/runs/run/handoff/start"
    for origin in ("http://evil.example", "null", "http://localhost:81", "http://localhost@evil"):
        answer = browser.post(address, data={"csrf": good}, headers={"origin": origin})
        assert answer.status_code == 403, origin
    assert browser.post(address, data={"csrf": good}).status_code == 403  # no origin at all
    for token in ("", "x", good[:-1]):
        assert browser.post(address, data={"csrf": token}, headers=OURS).status_code == 403
    other = form_token(client(runs, token=TOKEN), "/login")
    assert browser.post(address, data={"csrf": other}, headers=OURS).status_code == 403
    by_page = {"referer": "http://localhost/runs/run/handoff"}
    told = {"csrf": good, "by": "Ada"}
    assert browser.post(address, data=told, headers=by_page).status_code == 503  # no Prefect here


def test_signing_in_is_not_forged_either(runs):
    browser = client(runs, token=TOKEN)
    assert browser.post("/login", data={"token": TOKEN}, headers=OURS).status_code == 403


def test_a_program_shows_the_token_itself(runs):
    browser = client(runs, token=TOKEN, token_to_read=True)
    assert browser.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert browser.get("/", headers={"authorization": "Bearer wrong"}).status_code == 401
    bearer = {"authorization": f"Bearer {TOKEN}"}
    answer = browser.post("/runs/run/handoff/start", data={"by": "a script"}, headers=bearer)
    assert answer.status_code == 503  # let through; there is no Prefect


def test_reading_needs_the_token_where_it_is_asked_for(runs):
    browser = client(runs, token=TOKEN, token_to_read=True)
    for method, address in every_route(runs):
        open_to_all = address in {"/login", "/style.css", "/enhance.js", "/icon.svg", "/healthz"}
        if method == "GET":
            status = browser.get(address).status_code
            assert (status == 401) is not open_to_all, address
    assert "/login?next=/runs/run/card" in browser.get("/runs/run/card").text
    sign_in(browser)
    assert browser.get("/runs/run/card").status_code == 200


def test_buttons_need_the_token_and_pages_do_not_show_them(runs):
    stranger = client(runs, token=TOKEN)
    page = stranger.get("/runs/run/handoff").text
    assert "<form" not in page.partition("<main")[2]
    for rest in ("start", "go-on", "decide"):
        answer = stranger.post(f"/runs/run/handoff/{rest}", headers=OURS)
        assert answer.status_code == 401
        assert 'class="button" href="/login?next=/"' in answer.text  # a form is no page to go to


def test_a_body_that_is_too_long_is_refused(runs):
    browser = client(runs, accept_report=lambda run, body, headers: {"bytes": len(body)})
    assert browser.post("/runs/run/report", content=b"x" * 1_000).json() == {"bytes": 1_000}
    assert browser.post("/runs/run/report", content=b"x" * 300_000).status_code == 413


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DeliveryError, 401),
        (lambda why: InputError("report", why, "none"), 422),
        (lambda why: StageError("report", why, "none"), 500),
    ],
)
def test_a_report_is_taken_only_by_whoever_checks_it(runs, error, status):
    def refuse(run, body, headers):
        raise error("no" if error is DeliveryError else f"{run} is damaged")

    browser = client(runs, token=TOKEN, token_to_read=True, accept_report=refuse)
    answer = browser.post("/runs/run/report", content=b"{}")
    assert answer.status_code == status
    assert str(runs) not in answer.text
    assert client(runs).post("/runs/run/report", content=b"{}").status_code == 404
    assert browser.get("/runs/run/report").status_code in {401, 405}
    for address in ("/runs/run/handoff/report", "/report", "/runs/report"):
        assert browser.post(address, content=b"{}").status_code == 401


@pytest.mark.parametrize(
    ("address", "goes_to"),
    [
        ("/runs/x", "/runs/x"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(address, goes_to):
    assert within_catalog(address) == goes_to


def test_what_would_be_unsafe_does_not_start(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIMER_RUNS", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match="is not set"):
        open_settings("127.0.0.1")
    with pytest.raises(InputError, match="--no-token with --host"):
        open_settings("0.0.0.0", no_token=True)  # noqa: S104
    assert open_settings("127.0.0.1", no_token=True).token is None
    assert open_settings("::1", no_token=True).token_to_read is False
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(InputError, match="5 characters"):
        open_settings("127.0.0.1")
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert open_settings("127.0.0.1").token_to_read is False
    assert open_settings("0.0.0.0").token_to_read is True  # noqa: S104
    assert open_settings("0.0.0.0", token_to_read=False).token_to_read is False  # noqa: S104
    with pytest.raises(InputError, match="leave one of them out"):
        open_settings("127.0.0.1", no_token=True, token_to_read=True)


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70])
def test_an_address_that_cannot_be_listened_on_is_one_line(tmp_path, host):
    with pytest.raises(InputError, match="cannot listen on"):
        serve_catalog(Settings(tmp_path), host, 0)
