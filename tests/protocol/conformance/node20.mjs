// The runner imports fs.globSync, which Node 20 does not have; judging a server does not call it.
import { register } from "node:module";

const fs = `
  import * as fs from "node:fs";
  export * from "node:fs";
  export const globSync = fs.globSync;
`;
const hooks = `
  export const resolve = (name, context, next) =>
    name === "fs" && context.parentURL.includes("/@modelcontextprotocol/conformance/")
      ? { url: ${JSON.stringify(`data:text/javascript,${encodeURIComponent(fs)}`)}, shortCircuit: true }
      : next(name, context);
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
