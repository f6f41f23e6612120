// The official JavaScript SDK as a client of the gateway:
// node sdk_client.mjs URL KEY TOOL ARGUMENTS [MILLISECONDS]
// A call that MILLISECONDS are too short for is made again. Prints one JSON object.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, key, name, given, timeout] = process.argv.slice(2);
const client = new Client({ name: "tests", version: "1.0.0" });
const requestInit = { headers: { Authorization: `Bearer ${key}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const { tools } = await client.listTools();
const errors = [];
const call = (options) =>
  client.callTool({ name, arguments: JSON.parse(given) }, undefined, options);
let result;
try {
  result = await call(timeout ? { timeout: Number(timeout) } : {});
} catch (error) {
  errors.push(error.message);
  console.error("gave up");
  result = await call({});
}
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), result, errors }));
await client.close();
