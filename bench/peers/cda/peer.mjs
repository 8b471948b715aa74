// Converts every document of a list with @medplum/ccda; ../README.md tells the protocol of a driver.
import { readFileSync, writeFileSync } from 'node:fs';

// Its core reads constants of WebSocket when it is loaded; Node 20 has none.
globalThis.WebSocket ??= class {};
const { convertCcdaToFhir, convertXmlToCcda } = await import('@medplum/ccda');

const [, , list, seconds, out] = process.argv;
const documents = JSON.parse(readFileSync(list, 'utf8')).map((path) => readFileSync(path, 'utf8'));
// Without it 47 of 64 documents are refused for a section that it does not know.
const OPTIONS = { ignoreUnsupportedSections: true };
const convert = (text) => JSON.stringify(convertCcdaToFhir(convertXmlToCcda(text), OPTIONS));

function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function run(texts, limit) {
  const started = cpuSeconds();
  let done = 0;
  do {
    for (const text of texts) convert(text);
    done += texts.length;
  } while (cpuSeconds() - started < limit);
  return done / (cpuSeconds() - started);
}

const good = [];
const lines = documents.map((text) => {
  try {
    const made = convert(text);
    good.push(text);
    return made;
  } catch (error) {
    return JSON.stringify({ error: `${error.name}: ${error.message}`.split('\n')[0].slice(0, 200) });
  }
});
writeFileSync(out, `${lines.join('\n')}\n`);
if (Number(seconds) > 0 && good.length) run(good, Number(seconds)); // warm-up
console.log(JSON.stringify({ rate: Number(seconds) > 0 && good.length ? run(good, Number(seconds)) : 0 }));
