"""What a subscriber hears is the same, byte for byte, whether hidden resources are there or not (DESIGN §6)."""

from __future__ import annotations

import json
import re

from receiver import until

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
"""Random ids and times."""


def heard(site, endpoint, hidden):
    """What comes of three visible changes with ``hidden`` called before each of them."""
    content = {"extension": [{"url": BACKPORT + "backport-payload-content", "valueCode": "full-resource"}]}
    channel = {"payload": "application/fhir+json", "_payload": content}
    id_ = site.subscribe(endpoint.url, "https://hdg.dev/fhir/SubscriptionTopic/result", channel=channel)
    site.start()
    site.until_status(id_, "active")
    for number in range(3):
        hidden(number)
        site.observe(f"x{number}")
    hidden(3)
    endpoint.wait_for(4)
    path = f"/fhir/Subscription/{id_}"
    until(lambda: '"3"' in site.world.client.get(f"{path}/$status", site.north).text)
    answers = [site.world.client.get(f"{path}/{name}", site.north).text for name in ("$status", "$events")]
    texts = [got.body.decode() for got in endpoint.got] + answers
    return [CHANGING.sub("-", text).replace(id_, "ID") for text in texts]


def test_hidden_changes_of_the_same_kind_are_not_to_be_heard(lite, endpoints, tmp_path, request):
    def write(number):
        lite.observe(f"hidden{number}", "bob", institution="south")
        lite.observe("bob-0", "bob", institution="south", status=("amended", "final")[number % 2])

    first = heard(lite, endpoints[0], write)
    lite.stop()
    for number in range(3):
        lite.world.delete("Observation", f"x{number}", "north")
    second = heard(lite, endpoints[1], lambda number: None)
    versions = re.compile(r'"versionId":"\d+"|"method":"P[A-Z]+","url":"[^"]*"|"status":"20[01]"')
    assert [versions.sub("", text) for text in first] == [versions.sub("", text) for text in second]
    assert "hidden" not in json.dumps(first)
    assert "bob" not in json.dumps(first)
