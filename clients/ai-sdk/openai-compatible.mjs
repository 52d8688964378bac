// The ai-sdk's provider for servers that speak as OpenAI does: chat completions.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText } from "ai";
import { ASKED, KEY, run, URL_V1 } from "../checks/checks.mjs";
import { chatting, embedding } from "./common.mjs";

const provider = (apiKey) => createOpenAICompatible({ name: "cogcore", baseURL: URL_V1, apiKey, includeUsage: true });
const own = provider(KEY);

await run({
  ...chatting(own("cogcore"), (name, key = KEY) => provider(key)(name)),
  ...embedding(own.embeddingModel(ASKED.embedder)),

  async "completions"() {
    const { text } = await generateText({ model: own.completionModel("cogcore"), prompt: "Good", maxOutputTokens: 4 });
    assert.equal(typeof text, "string");
  },
});
