// The ai-sdk's provider for OpenAI: responses, and chat completions.

import assert from "node:assert/strict";
import { createOpenAI, openai } from "@ai-sdk/openai"; // by OPENAI_BASE_URL and OPENAI_API_KEY
import { generateText, streamText } from "ai";
import { ASKED, KEY, run } from "../checks/checks.mjs";
import { assertCited, chatting, embedding } from "./common.mjs";

const prefixed = (prefix, checks) => Object.fromEntries(Object.entries(checks).map(([name, work]) => [`${prefix}: ${name}`, work]));
const searching = {
  model: openai("cogcore"),
  prompt: ASKED.question,
  tools: { file_search: openai.tools.fileSearch({ vectorStoreIds: ["default"] }) },
};

await run({
  ...prefixed("responses", chatting(openai("cogcore/default"), (name, key = KEY) => createOpenAI({ apiKey: key })(name))),
  ...prefixed("chat", chatting(openai.chat("cogcore"), (name, key = KEY) => createOpenAI({ apiKey: key }).chat(name), { reasons: false })),
  ...embedding(openai.embedding(ASKED.embedder)),

  async "chat: the citation is a source"() {
    await assertCited((await generateText({ model: openai.chat("cogcore"), prompt: ASKED.question })).sources);
  },

  async "responses: file search"() {
    const providerOptions = { openai: { include: ["file_search_call.results"] } };
    const result = await generateText({ ...searching, providerOptions });
    assert(result.text.includes(ASKED.answer));
    const found = result.content.find((part) => part.type === "tool-result" && part.toolName === "file_search");
    assert.equal(found?.output.results[0].filename, ASKED.file);
    await assertCited(result.sources);
    assert(result.sources.some((source) => source.sourceType === "document" && source.filename === ASKED.file));
  },

  async "responses: file search streamed"() {
    const errors = [];
    const result = streamText({ ...searching, onError: ({ error }) => errors.push(error) });
    const kinds = new Set();
    for await (const part of result.fullStream) kinds.add(part.type);
    assert.deepEqual(errors, []);
    for (const kind of ["tool-call", "tool-result", "text-delta", "source", "finish"]) assert(kinds.has(kind), [...kinds].join());
    assert((await result.text).includes(ASKED.answer));
    await assertCited(await result.sources);
  },

  async "responses: going on with what was found"() {
    const question = { role: "user", content: ASKED.question };
    const thanks = { role: "user", content: "Thank you, that was helpful." };
    for (const store of [true, false]) {
      const asked = { model: searching.model, tools: searching.tools, providerOptions: { openai: { store } } };
      const first = await generateText({ ...asked, messages: [question] });
      const second = await generateText({ ...asked, messages: [question, ...first.response.messages, thanks] });
      assert(second.text);
    }
  },

  async "responses: going on from the one before"() {
    const first = await generateText({ model: openai("cogcore/default"), prompt: ASKED.question });
    const previousResponseId = first.providerMetadata.openai.responseId;
    const second = await generateText({
      model: openai("cogcore/default"),
      prompt: "Thank you, that was helpful.",
      providerOptions: { openai: { previousResponseId } },
    });
    assert(second.text);
  },
});
