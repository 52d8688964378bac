// The MCP inspector as a command.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ASKED, assertShows, KEY, run, URL_V1 } from "../checks/checks.mjs";

const inspector = fileURLToPath(new URL("node_modules/.bin/mcp-inspector", import.meta.url));

async function inspect(key, ...words) {
  const where = ["--cli", URL_V1.replace("/v1", "/mcp"), "--transport", "http", "--stored-auth-only"];
  const { stdout } = await promisify(execFile)(inspector, [...where, "--header", `Authorization: Bearer ${key}`, ...words]);
  return JSON.parse(stdout);
}

const call = (tool, argument) => inspect(KEY, "--method", "tools/call", "--tool-name", tool, "--tool-arg", argument);

await run({
  async "tools are listed"() {
    const { tools } = await inspect(KEY, "--method", "tools/list");
    assert.deepEqual(tools.map((tool) => tool.name).sort(), ["fetch", "search"]);
  },

  async "search and fetch"() {
    const found = await call("search", `query=${ASKED.question}`);
    const best = found.structuredContent.results[0];
    assert(best.title.startsWith(ASKED.file) && best.text.includes(ASKED.answer));
    await assertShows(best.url, ASKED.answer);
    const fetched = await call("fetch", `id=${best.id}`);
    assert(fetched.structuredContent.text.includes(best.text));
  },

  async "a wrong key is refused"() {
    await assert.rejects(inspect("wrong", "--method", "tools/list"), (error) => error.code !== 0 && /auth/i.test(error.stderr));
  },
});
