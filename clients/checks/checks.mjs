// What a client's script for Node is made of: checks, each told to the runner as one line of JSON.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const ASKED = JSON.parse(readFileSync(new URL("asked.json", import.meta.url), "utf-8"));
export const URL_V1 = process.env.OPENAI_BASE_URL;
export const KEY = process.env.OPENAI_API_KEY;

/** Run every check, in order. One fails by throwing. */
export async function run(checks) {
  for (const [name, work] of Object.entries(checks)) {
    let failed = null;
    try {
      await work();
    } catch (error) {
      failed = error.stack ?? String(error);
    }
    console.log(JSON.stringify({ check: name, failed }));
  }
}

/** The error of this kind that the call throws. */
export async function thrown(kind, call) {
  try {
    await call();
  } catch (error) {
    if (kind.isInstance ? kind.isInstance(error) : error instanceof kind) return error;
    throw error;
  }
  throw new assert.AssertionError({ message: `nothing of the kind ${kind.name} was thrown` });
}

/** The link of a citation opens as a browser opens it, without the key, and the words stand there marked. */
export async function assertShows(url, words) {
  const page = await (await fetch(url)).text();
  const marked = page.split("<mark>")[1]?.split("</mark>")[0] ?? "";
  assert(marked.includes(words), `${url} marks '${marked}'`);
}
