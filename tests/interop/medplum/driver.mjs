// Sends files with Medplum's own client: HOST PORT plain|tls [CA CERT KEY] FILE...; prints MSA-1 and MSA-2 of each answer.
import { readFileSync } from "node:fs";
import tls from "node:tls";
import { Hl7Message } from "@medplum/core";
import { Hl7Client, Hl7Connection } from "@medplum/hl7";

const [host, port, mode, ...rest] = process.argv.slice(2);

async function connection() {
  if (mode === "plain") {
    return new Hl7Client({ host, port: Number(port) });
  }
  const [ca, cert, key] = rest.splice(0, 3).map((path) => readFileSync(path));
  const socket = tls.connect({ host, port: Number(port), ca, cert, key });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  return new Hl7Connection(socket);
}

const client = await connection();
for (const file of rest) {
  const answer = await client.sendAndWait(Hl7Message.parse(readFileSync(file, "utf8")));
  const msa = answer.getSegment("MSA");
  console.log(`${msa.getField(1)} ${msa.getField(2)}`);
}
await client.close();
