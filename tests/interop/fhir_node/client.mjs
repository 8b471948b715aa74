// What a FHIR client does all day, with fhir-kit-client: prints one line a step; fails on the first that is wrong.
import assert from "node:assert/strict";
import Client from "fhir-kit-client";

const client = new Client({ baseUrl: process.env.HDG_URL, bearerToken: process.env.HDG_TOKEN });

const statement = await client.capabilityStatement();
assert.equal(statement.fhirVersion, "4.0.1");
console.log("capabilities");

const patient = await client.create({
  resourceType: "Patient",
  body: { resourceType: "Patient", name: [{ family: "Kit" }], identifier: [{ system: "urn:kit", value: "1" }] },
});
assert.ok(patient.id);
console.log("create");

const observation = (value) => ({
  resourceType: "Observation",
  status: "final",
  code: { coding: [{ system: "http://loinc.org", code: "718-7" }] },
  subject: { reference: `Patient/${patient.id}` },
  effectiveDateTime: `2024-01-0${value}`,
  valueQuantity: { value, unit: "g/dL" },
});
const bundle = await client.transaction({
  body: {
    resourceType: "Bundle",
    type: "transaction",
    entry: [1, 2, 3].map((value) => ({
      resource: observation(value),
      request: { method: "POST", url: "Observation" },
    })),
  },
});
assert.deepEqual(bundle.entry.map((entry) => entry.response.status), ["201 Created", "201 Created", "201 Created"]);
console.log("transaction");

let page = await client.search({
  resourceType: "Observation",
  searchParams: { subject: `Patient/${patient.id}`, _count: 2, _sort: "-date", _include: "Observation:subject" },
});
assert.equal(page.total, 3);
const seen = [];
while (page) {
  seen.push(...page.entry.filter((entry) => entry.search.mode === "match").map((entry) => entry.resource));
  page = await client.nextPage({ bundle: page });
}
assert.deepEqual(seen.map((one) => one.valueQuantity.value), [3, 2, 1]);
console.log("search, pages");

const changed = await client.update({
  resourceType: "Observation",
  id: seen[0].id,
  body: { ...seen[0], status: "amended" },
  options: { headers: { "If-Match": `W/"${seen[0].meta.versionId}"` } },
});
assert.equal(changed.status, "amended");
await assert.rejects(
  client.update({
    resourceType: "Observation",
    id: seen[0].id,
    body: { ...seen[0], status: "final" },
    options: { headers: { "If-Match": 'W/"1"' } },
  }),
  (error) => error.response.status === 412,
);
console.log("update");

const patched = await client.patch({
  resourceType: "Observation",
  id: seen[0].id,
  JSONPatch: [{ op: "replace", path: "/status", value: "corrected" }],
});
assert.equal(patched.status, "corrected");
const first = await client.vread({ resourceType: "Observation", id: seen[0].id, version: "1" });
assert.equal(first.status, "final");
const history = await client.history({ resourceType: "Observation", id: seen[0].id });
assert.equal(history.total, 3);
console.log("patch, vread, history");

const everything = await client.operation({ name: "$everything", resourceType: "Patient", id: patient.id, method: "GET" });
assert.equal(everything.total, 4);
const compartment = await client.compartmentSearch({
  resourceType: "Observation",
  compartment: { resourceType: "Patient", id: patient.id },
});
assert.equal(compartment.total, 3);
const all = await client.systemHistory();
assert.ok(all.entry.length >= 6);
console.log("operation, compartment, system history");

const batch = await client.batch({
  body: {
    resourceType: "Bundle",
    type: "batch",
    entry: [
      { request: { method: "GET", url: `Patient/${patient.id}` } },
      { request: { method: "DELETE", url: `Observation/${seen[1].id}` } },
      { request: { method: "GET", url: "Patient/nobody" } },
    ],
  },
});
assert.deepEqual(batch.entry.map((entry) => entry.response.status.slice(0, 3)), ["200", "204", "404"]);
console.log("batch");

await client.delete({ resourceType: "Observation", id: seen[2].id });
await assert.rejects(client.read({ resourceType: "Observation", id: seen[2].id }), (error) => error.response.status === 410);
console.log("delete");
