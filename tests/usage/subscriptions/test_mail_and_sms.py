"""Subscriptions by email and sms (R4 valueset-subscription-channel-type; docs/subscriptions.md)."""

from __future__ import annotations

import asyncio
import base64

import pytest

from certificates import Authority
from endpoint import Endpoint
from hdg.errors import SettingsError
from hdg.fhir import json, xml
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.mllp_tls import server_context
from hdg.management.store.search import SearchQuery
from hdg.management.store.subscription import Row
from hdg.settings import Settings
from hdg.usage.subscriptions import mail
from hdg.usage.subscriptions.definition import Definition
from hdg.usage.subscriptions.endpoints import Endpoints
from hdg.usage.subscriptions.feed import Told
from hdg.usage.subscriptions.hook import tls_context
from hdg.usage.subscriptions.mail import Mail, Server
from hdg.usage.subscriptions.topics import topics
from hdg.usage.subscriptions.ways import Ways
from mail_server import MailServer
from receiver import until

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
RESULT = "https://hdg.dev/fhir/SubscriptionTopic/result"
ALLOWED = ("mailto:*@ward.example", "mailto:dr.lee@Hospital.example", "tel:+8210*")
WARD = "mailto:board@ward.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("mail-ca"))


@pytest.fixture(scope="module")
def server_tls(authority):
    pair = authority.issue("localhost")
    return server_context(pair.certificate, pair.key, None)


@pytest.fixture
def server(server_tls):
    made = MailServer(server_tls)
    yield made
    made.close()


@pytest.fixture
def mailing(make_site, server, authority):
    url = f"smtps://gate%40way@localhost:{server.port}"
    return make_site(
        subscription_endpoints=ALLOWED,
        subscription_mail=url,
        subscription_mail_from="gateway@hospital.example",
        subscription_mail_password="secret-7f",
        subscription_ca=authority.ca,
    )


def by_mail(site, address=WARD, criteria="Observation?code=http://loinc.org|718-7", **channel):
    return site.subscribe(address, criteria, channel={"type": "email", **channel})


def test_a_mail_without_payload_says_that_there_is_something_and_nothing_about_anybody(
    mailing, server
) -> None:
    id_ = by_mail(mailing)
    mailing.start()
    mailing.until_status(id_, "active")
    mailing.observe("x1")
    mailing.observe("x2", "bob", institution="south")  # hidden
    mailing.observe("x3")
    first, second = server.wait_for(2)
    assert (first["To"], first["From"]) == ("board@ward.example", "gateway@hospital.example")
    assert first.get_content().strip() == (
        f"There is something new for Subscription/{id_} at https://gateway.example/fhir"
    )
    assert not {"x1", "ann", "718-7"} & set(first.as_string().replace("\n", " ").split())
    assert first["Message-ID"] != second["Message-ID"]
    assert base64.b64decode(server.logins[0]) == b"\0gate@way\0secret-7f"
    assert len(server.got) == 2
    assert {agent for agent, patient in mailing.audited() if patient == "ann"}


def test_a_payload_comes_as_an_attachment_to_the_digit(mailing, server) -> None:
    by_mail(mailing, payload="application/fhir+json")
    by_mail(mailing, "mailto:dr.lee@HOSPITAL.example", payload="application/fhir+xml")
    mailing.start()
    mailing.observe("x1", valueQuantity={"value": json.loads("1.50")})
    found = {each["To"]: next(iter(each.iter_attachments())) for each in server.wait_for(2)}
    stored = mailing.world.client.get("/fhir/Observation/x1", mailing.north).content
    attached = found["board@ward.example"]
    assert (attached.get_content_type(), attached.get_filename()) == (
        "application/fhir+json",
        "notification.json",
    )
    assert attached.get_content() == stored
    assert json.dumps(xml.loads(found["dr.lee@hospital.example"].get_content())) == stored


def test_a_topic_sends_its_bundles(mailing, server) -> None:
    level = [{"url": BACKPORT + "backport-payload-content", "valueCode": "id-only"}]
    by_mail(mailing, criteria=RESULT, payload="application/fhir+json", _payload={"extension": level})
    mailing.start()
    until(lambda: len(server.got) == 1)
    mailing.observe("x1")
    bundles = [json.loads(next(iter(each.iter_attachments())).get_content()) for each in server.wait_for(2)]
    assert [validate(bundle) for bundle in bundles] == [[], []]


def test_a_mail_that_was_taken_is_not_sent_again_because_nobody_says_goodbye(
    make_site, server, authority, monkeypatch
) -> None:
    monkeypatch.setattr(mail, "_BYE_S", 0.1)
    site = make_site(
        subscription_endpoints=ALLOWED,
        subscription_mail=f"smtps://localhost:{server.port}",
        subscription_mail_from="gateway@hospital.example",
        subscription_ca=authority.ca,
        subscription_timeout_s=5,
    )
    server.is_rude = True
    by_mail(site)
    site.start()
    site.observe("x1")
    site.observe("x2")
    first, second = server.wait_for(2)
    assert first["Message-ID"] != second["Message-ID"]


def test_a_mail_that_is_given_up_is_never_ended_with_something_else_in_it(server, authority) -> None:
    way = Mail(
        Server(True, "localhost", server.port, "", "", "gateway@hospital.example"),
        tls_context(authority.ca),
        "https://gateway.example/fhir",
    )
    row = Row("s1", 1, 1, "active", "email", 0, 0, 0, 1, "", b"")
    topic = next(iter(topics().values()))
    definition = Definition(SearchQuery("Observation"), topic, "email", "empty", address="board@ward.example")

    async def body() -> bytes:
        return b"x" * 12_000_000  # more than lies in the buffers of both sides

    async def given_up() -> None:
        sending = asyncio.create_task(way.carry(Told(row, None, definition), body, None, 60))
        await asyncio.to_thread(server.holding.wait, 20)
        sending.cancel()
        await asyncio.wait([sending])

    server.hold.clear()
    asyncio.run(given_up())
    server.hold.set()
    until(lambda: bool(server.cut))
    assert not server.got
    assert b"QUIT" not in server.cut[0].upper().split(b"\r\n")


def test_a_mail_server_that_refuses_is_tried_again_and_a_repeat_is_known_as_one(mailing, server) -> None:
    server.refuse = 451
    id_ = by_mail(mailing)
    mailing.start()
    mailing.until_status(id_, "active")
    mailing.observe("x1")
    mailing.until_status(id_, "error")
    assert mailing.resource(id_)["error"] == "the mail server answered 451"
    server.refuse = 0
    assert mailing.change(id_, status="requested").status_code == 200
    first = server.wait_for(1)[0]["Message-ID"]
    mailing.until_status(id_, "active")
    path = f"/fhir/Subscription/{id_}/$resend"
    assert (
        mailing.world.client.send("POST", path, mailing.north, {"resourceType": "Parameters"}).status_code
        == 200
    )
    assert server.wait_for(2)[1]["Message-ID"] == first


@pytest.mark.parametrize("offers_tls", [True, False])
def test_without_tls_nothing_is_sent(make_site, server_tls, authority, offers_tls) -> None:
    server = MailServer(server_tls, with_starttls=True, offers_tls=offers_tls)
    try:
        site = make_site(
            subscription_endpoints=ALLOWED,
            subscription_mail=f"smtp://localhost:{server.port}",
            subscription_mail_from="gateway@hospital.example",
            subscription_ca=authority.ca,
        )
        id_ = by_mail(site)
        site.start()
        site.until_status(id_, "active")
        site.observe("x1")
        if offers_tls:
            server.wait_for(1)
        else:
            site.until_status(id_, "error")
            assert server.got == []
    finally:
        server.close()


def test_a_mail_server_whose_certificate_nobody_vouches_for_gets_nothing(make_site, server) -> None:
    site = make_site(
        subscription_endpoints=ALLOWED,
        subscription_mail=f"smtps://localhost:{server.port}",
        subscription_mail_from="gateway@hospital.example",
    )
    id_ = by_mail(site)
    site.start()
    site.observe("x1")
    site.until_status(id_, "error")
    assert site.resource(id_)["error"] == "the mail server's certificate is not valid"
    assert server.got == []


def test_a_text_message_goes_to_the_relay_and_says_nothing_about_anybody(make_site) -> None:
    relay = Endpoint()
    try:
        site = make_site(
            subscription_endpoints=ALLOWED,
            subscription_sms=f"{relay.url}?key=1",
            subscription_sms_authorization="Bearer r",
        )
        id_ = site.subscribe("tel:+821012345678", channel={"type": "sms"})
        site.start()
        site.until_status(id_, "active")
        site.observe("x1")
        (got,) = relay.wait_for(1)
        assert (got.method, got.path, got.headers["authorization"]) == ("POST", "/hook?key=1", "Bearer r")
        said = f"There is something new for Subscription/{id_} at https://gateway.example/fhir"
        assert got.json() == {"to": "+821012345678", "text": said}
    finally:
        relay.close()


MAIL = {"type": "email"}
SMS = {"type": "sms", "endpoint": "tel:+821012345678"}
REFUSED = [
    {**MAIL},
    {**MAIL, "endpoint": "mailto:a@elsewhere.example"},
    {**MAIL, "endpoint": "mailto:a@ward.example.evil"},
    {**MAIL, "endpoint": "mailto:a@x.ward.example"},
    {**MAIL, "endpoint": "mailto:a@ward.example?cc=b@evil.example"},
    {**MAIL, "endpoint": "mailto:a@ward.example,b@evil.example"},
    {**MAIL, "endpoint": "mailto:a%0d%0aBcc:b@ward.example"},
    {**MAIL, "endpoint": "mailto:dr.kim@hospital.example"},
    {**MAIL, "endpoint": "https://ward.example"},
    {**MAIL, "endpoint": WARD, "header": ["Subject: x"]},
    {**MAIL, "endpoint": WARD, "payload": "text/plain"},
    {**SMS, "endpoint": "tel:+4912345678"},
    {**SMS, "endpoint": "tel:+8210"},
    {**SMS, "endpoint": "tel:+8210-1234-5678"},
    {**SMS, "payload": "application/fhir+json"},
]


def test_addresses_that_are_not_listed_and_what_they_could_smuggle_are_refused(mailing) -> None:
    with_sms = Endpoints(ALLOWED, ("email", "sms"))
    assert with_sms.address("sms", "tel:+821012345678") == "+821012345678"
    for channel in REFUSED:
        refused = mailing.refused({"criteria": "Observation?", "channel": channel})
        assert refused.status_code == 400, channel
        assert "@" not in refused.text


def test_where_there_is_no_way_the_channel_is_refused(make_site) -> None:
    site = make_site(subscription_endpoints=ALLOWED)
    for channel in ({**MAIL, "endpoint": WARD}, SMS):
        refused = site.refused({"criteria": "Observation?", "channel": channel})
        assert refused.status_code == 400
        assert refused.json()["issue"][0]["code"] == "not-supported"


@pytest.mark.parametrize(
    "wrong",
    [
        {"subscription_mail": "https://x", "subscription_mail_from": "a@b"},
        {"subscription_mail": "smtps://x:no", "subscription_mail_from": "a@b"},
        {"subscription_mail": "smtps://x", "subscription_mail_from": ""},
        {"subscription_sms": "ftp://x"},
    ],
)
def test_a_way_that_cannot_be_used_stops_the_start(tmp_path, wrong) -> None:
    with pytest.raises(SettingsError, match=r"subscription_(mail|sms)"):
        Ways(Settings(data=tmp_path, **wrong))


@pytest.mark.parametrize(
    "entry", ["mailto:", "mailto:*", "mailto:*@*", "mailto:a@b c", "tel:*", "tel:1", "tel:+x*"]
)
def test_an_entry_that_is_no_address_stops_the_start(entry) -> None:
    with pytest.raises(SettingsError, match="subscription_endpoints"):
        Endpoints((entry,))


def test_no_secret_is_in_the_settings_text(tmp_path) -> None:
    made = Settings(
        data=tmp_path, subscription_mail_password="secret-7f", subscription_sms_authorization="secret-8f"
    )
    assert "secret-" not in repr(made)
