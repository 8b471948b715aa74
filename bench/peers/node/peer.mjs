// Parses every message of a file and reads the same fields; see ../README.md for the shared protocol.
import { readFileSync } from 'node:fs';
import { Hl7Message } from '@medplum/core';
import { Message } from 'node-hl7-client';

const FIELDS = [
  ['MSH', 9], ['MSH', 10], ['PID', 3], ['PID', 5], ['PID', 7], ['PID', 8], ['PID', 11], ['PV1', 2],
  ['PV1', 19], ['ORC', 2], ['OBR', 4], ['OBR', 7], ['OBX', 3], ['OBX', 5], ['OBX', 6],
];

const readers = {
  medplum(text) {
    const message = Hl7Message.parse(text);
    for (const [name, number] of FIELDS) message.getSegment(name)?.getField(number)?.toString();
    return message.getAllSegments('OBX').length;
  },
  nodehl7(text) {
    const message = new Message({ text });
    for (const [name, number] of FIELDS) {
      if (text.includes(`\r${name}|`)) message.get(`${name}.${number}`).toString();
    }
    return text.includes('\rOBX|') ? message.get('OBX').length : 0;
  },
};

const [, , which, path, seconds] = process.argv;
const read = readers[which];
const messages = readFileSync(path, 'utf8').split('\x1c\r').filter(Boolean).map((text) => text.slice(1));

function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function run(limitMs) {
  const started = cpuMs();
  let done = 0;
  while (cpuMs() - started < limitMs) {
    for (const text of messages) {
      try {
        read(text);
        done++;
      } catch { /* counted below */ }
      if (cpuMs() - started >= limitMs) break;
    }
  }
  return (done * 1000) / (cpuMs() - started);
}

let failed = 0;
let obx = 0;
for (const text of messages) {
  try {
    obx += read(text);
  } catch {
    failed++;
  }
}
run(Number(seconds) * 1000); // warm-up
console.log(JSON.stringify({ rate: run(Number(seconds) * 1000), failed, obx }));
