"""What is personal is taken out, what only looks like it stays, and nothing repeats it."""

import logging

import pyarrow as pa
import pytest

from benchmarks.pii_plants import plants
from pipeline.clean_rules import Verdict
from pipeline.pii import PiiConfig, redact, redact_text
from pipeline.pii_config import NATIONAL_IDS, PLACEHOLDERS, TYPES
from pipeline.pii_find import find
from pipeline.pii_ids import NUMBERS
from pipeline.pii_marks import EVERY

CONFIG = PiiConfig()


def redacted(text, kind="web", config=CONFIG):
    return redact_text(text, kind, config, EVERY)


def found(text, **fields):
    return [(f.type, text[f.start : f.end]) for f in find(text, EVERY, PiiConfig(**fields))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to <anna.berg+news@mail.web.de>, or call.", "Write to <<EMAIL>>, or call."),
        ("mailto:jörg.o'neil@uni-köln.de", "mailto:jörg.o'<EMAIL>"),
        ("reach +49 (0)30 2345 6789 now", "reach <PHONE> now"),
        ("Fax 0049 30 23456789.", "Fax <PHONE>."),
        ("(313) 577-2424 and 313-577-2425", "<PHONE> and <PHONE>"),
        ("Paris 01 42 68 53 00", "Paris <PHONE>"),
        ("from 82.252.162.81 port", "from <IP> port"),
        ("at [2a00:1450:4001:81b::200e]:80", "at [<IP>]:80"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC", "IBAN <IBAN> BIC"),
        ("card 4556 7375 8689 9855", "card <CARD>"),
        ("in 2004 4556-7375-8689-9855", "in 2004 <CARD>"),
        ("SSN 536-22-1234", "SSN <NATIONAL_ID>"),
        ("codice RCCMNL83S18D969H ok", "codice <NATIONAL_ID> ok"),
        ("postgres://app:Zk3ppQx9a1@db.firma.de/x", "postgres://app:<SECRET>@db.firma.de/x"),
    ],
)  # fmt: skip
def test_prose_is_redacted_by_typed_placeholders(text, expected):
    assert redacted(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com, a@b.example, you@yourdomain.com, noreply@firma.de, git@github.com:a/b",
        "logo@2x.png  x@weights.T  @decorator  W@x.sum(axis=1)  pkg@1.2.3",
        "10.0.0.1 192.168.1.1 127.0.0.1 203.0.113.7 198.51.100.1 8.8.8.8 255.255.255.0 2001:db8::1",
        "version 4.19.12.3, v2.3.4.5, requests==2.3.4.5, Chrome/41.0.227.118 and 1.2.3.4 of them",
        "OID 1.3.6.1.4.1.311 and section 12.4.3.2 at 12:34:56",
        "2023-01-05 12:33:10, 1939-1945, 20140101T120000, pi is 3.14159265358979, id 1234567890123",
        "4111 1111 1111 1111 is for tests; 4929 1234 5678 9012 has a wrong digit",
        "GB29 NWBK 6016 1331 9268 18 has wrong check digits; 000-12-3456 and 987-65-4321 no SSN",
        "+1 415 555 0132 is for films, +99 123 456 789 nobody's",
        "AKIAIOSFODNN7EXAMPLE ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx sk-your-key-here",
        "postgres://user:password@localhost/db and https://{user}:{password}@host",
        "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
        "api_key = get_api_key_from_environment2() and token: my_access_token_name_v2_long",
        "commit 192b9bdd22ab9ed4d12e236c78afcb9a393ec15f, id 773aea60-0e80-41bb-9c7f-e6d7c3ad17fb",
        "11 12 13 01 23 75 03 34 is a grid; Storrs, CT 06269-3043 a place; 12/08/2018 a date",
        "call 9/21/2001 no number, nor math-ph/0609050",
    ],
)
def test_what_only_looks_personal_stays(text):
    assert found(text) == []


def test_a_private_key_goes_whole_and_cut_short():
    key = next(p for p in plants(3, 1) if p.sort == "RSA PRIVATE KEY").words
    assert redacted(f"a\n{key}\nb").text == "a\n<PRIVATE_KEY>\nb"
    assert redacted(f"a\n{key[:400]}").text == "a\n<PRIVATE_KEY>"


def test_every_sort_of_plant_is_found_but_for_bare_national_telephones():
    made = list(plants(11, 3))
    texts = pa.array([f"Some words, {p.words} and others." for p in made])
    after = redact(texts, ["web"] * len(made), CONFIG)
    missed = {
        plant.sort
        for plant, text, counts in zip(made, after.texts.to_pylist(), after.counts, strict=True)
        if plant.value in text or not counts.get(plant.type)
    }
    assert missed <= {"national alone"}
    assert {p.type for p in made} == set(TYPES)
    assert {p.sort for p in made if p.type == "national_id"} == set(NATIONAL_IDS) == set(NUMBERS)


def test_each_type_and_each_number_can_be_switched_off():
    for plant in plants(5, 1):
        others = tuple(t for t in TYPES if t != plant.type)
        assert (plant.type, plant.value) not in found(plant.words, types=others)
        if plant.type == "national_id":
            rest = tuple(n for n in NATIONAL_IDS if n != plant.sort)
            only = found(plant.words, types=("national_id",), national_ids=rest)
            assert (plant.type, plant.value) not in only
    assert found("Paris 01 42 68 53 00", phone_regions=("US",)) == []
    hidden = 'api_key = "8f3a1c9b5d7e2f4a6b8c0d1e3f5a7b9c"'
    assert found(hidden)
    assert not found(hidden, assigned_secrets=False)


def test_a_batch_keeps_its_shape_and_is_the_same_array_when_nothing_is_found():
    clean = pa.array(["nothing", None, "here"])
    after = redact(clean, ["web"] * 3, CONFIG)
    assert after.texts is clean
    assert (after.counts, after.verdicts) == ([{}, {}, {}], [None] * 3)
    mixed = pa.array(["x", None, "", "a a@web.de b@web.de", "call +49 30 23456789"])
    for texts in (mixed, pa.chunked_array([mixed[:2], mixed[2:]]), mixed.cast(pa.large_string())):
        after = redact(texts, ["web"] * 5, CONFIG)
        assert after.texts.to_pylist() == ["x", None, "", "a <EMAIL> <EMAIL>", "call <PHONE>"]
        assert after.texts.type == texts.type
        assert after.counts == [{}, {}, {}, {"email": 2}, {"phone": 1}]
    assert redact(mixed, ["web"] * 5, PiiConfig(types=())).texts is mixed
    assert redact(mixed[3:], ["web"] * 2, CONFIG).texts.to_pylist()[0] == "a <EMAIL> <EMAIL>"
    assert len(redact(mixed[:0], [], CONFIG).texts) == 0


def test_redaction_settles():
    for plant in plants(9, 1):
        once = redacted(f"words {plant.words} words").text
        assert redacted(once).text == once or "national alone" in plant.sort
    assert not found(" ".join(PLACEHOLDERS.values()))


def test_prose_can_be_dropped_and_the_evidence_does_not_hold_the_thing(caplog):
    caplog.set_level(logging.DEBUG)
    for plant in plants(13, 1):
        for kind in ("web", "code"):
            config = PiiConfig(prose="drop", code="drop")
            judged = redacted(f"first\nline = '''{plant.words}'''", kind, config)
            if judged.verdict is None:
                assert plant.sort == "national alone"
                continue
            expected = "secret" if plant.type in ("secret", "private_key") else "personal_data"
            assert judged.verdict == Verdict(expected, f"{plant.type} at line 2")
            assert plant.value not in str((judged.counts, judged.verdict))
    assert not caplog.records


def test_versions_of_browsers_do_not_hide_the_address_beside_them():
    assert found("server 82.1.2.33 driver") == [("ip", "82.1.2.33")]
    assert found("ping 5.6.7.8") == [("ip", "5.6.7.8")]
    assert found("http://82.1.2.33/index") == [("ip", "82.1.2.33")]


def test_a_number_that_needs_its_word_is_not_believed_without_it():
    for plant in plants(21, 1):
        if plant.words != plant.value and plant.type == "national_id":
            kinds = [
                kind for kind, value in found(f"see {plant.value} here") if value == plant.value
            ]
            assert "national_id" not in kinds
