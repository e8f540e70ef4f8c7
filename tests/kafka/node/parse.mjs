// Reads an AsyncAPI document with the official parser and says what it complains about: `node parse.mjs FILE`.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
for (const { severity, path, message } of diagnostics) {
  console.log(["error", "warning", "information", "hint"][severity], path.join("."), message);
}
if (document === undefined) process.exit(1);
const channels = document.channels().all();
console.log(channels.map((channel) => `${channel.id()} ${channel.messages().all().length}`).join(", "));
