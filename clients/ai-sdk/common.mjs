// What every provider of the ai-sdk must do with a chat model of ours.

import assert from "node:assert/strict";
import { APICallError, embed, embedMany, generateText, jsonSchema, Output, streamText, tool } from "ai";
import { ASKED, assertShows, thrown } from "../checks/checks.mjs";

const weather = tool({ description: "The weather", inputSchema: jsonSchema({ type: "object", properties: {} }) });

/**
 * Checks over a model that searches by itself. `named` makes such a model of another name, or with another key;
 * `reasons` says whether the provider reads thoughts at all.
 */
export function chatting(model, named, { reasons = true } = {}) {
  return {
    async chat() {
      const result = await generateText({ model, prompt: ASKED.question });
      assert(result.text.includes(ASKED.answer));
      assert.equal(Boolean(result.reasoningText), reasons);
      assert.equal(result.finishReason, "stop");
      assert(result.usage.totalTokens > 0);
    },

    async "chat streamed"() {
      const errors = [];
      const result = streamText({ model, prompt: ASKED.question, onError: ({ error }) => errors.push(error) });
      let text = "";
      for await (const delta of result.textStream) text += delta;
      assert.deepEqual(errors, []);
      assert(text.includes(ASKED.answer));
      assert.equal(await result.finishReason, "stop");
      assert((await result.usage).totalTokens > 0);
    },

    async "a stream that is hung up"() {
      const { textStream } = streamText({ model, prompt: ASKED.question, abortSignal: AbortSignal.timeout(50) });
      for await (const _ of textStream) break;
    },

    async "what the memory does not hold"() {
      const { text, sources } = await generateText({ model, prompt: ASKED.unanswerable });
      assert(text.includes(ASKED.unknown));
      assert.deepEqual(sources, []);
    },

    async "small talk, and a conversation that goes on with what was answered"() {
      const first = await generateText({ model, prompt: ASKED.small_talk });
      const said = { role: "user", content: ASKED.small_talk };
      const question = { role: "user", content: ASKED.question };
      const second = await generateText({ model, messages: [said, ...first.response.messages, question] });
      assert(first.text && second.text.includes(ASKED.answer));
      const thanks = { role: "user", content: "Thank you, that was helpful." };
      const third = await generateText({ model, messages: [question, ...second.response.messages, thanks] });
      assert(third.text);
    },

    async "functions and schemas are refused by the embedded core"() {
      const refused = await thrown(APICallError, () => generateText({ model, prompt: "Hi", tools: { weather } }));
      assert.equal(refused.statusCode, 400);
      assert.match(refused.responseBody, /"param":"tools"/);
      const output = Output.object({ schema: jsonSchema({ type: "object", properties: { days: { type: "integer" } } }) });
      await thrown(APICallError, () => generateText({ model, prompt: ASKED.question, output }));
    },

    async "errors are the client's own"() {
      const asked = { prompt: "Hi", maxRetries: 0 };
      const unknown = await thrown(APICallError, () => generateText({ ...asked, model: named("gpt-nope") }));
      assert.deepEqual([unknown.statusCode, unknown.isRetryable], [404, false]);
      assert.match(unknown.message, /gpt-nope/);
      const refused = await thrown(APICallError, () => generateText({ ...asked, model: named("cogcore", "wrong") }));
      assert.equal(refused.statusCode, 401);
    },
  };
}

/** A source opens, and holds the answer. */
export async function assertCited(sources) {
  const link = sources.find((source) => source.sourceType === "url");
  assert.equal(link?.title, ASKED.file, JSON.stringify(sources));
  await assertShows(link.url, ASKED.answer);
}

export function embedding(model) {
  return {
    async embeddings() {
      const { embeddings, usage } = await embedMany({ model, values: [ASKED.question, ASKED.document] });
      assert.deepEqual(embeddings.map((one) => one.length), [ASKED.dimension, ASKED.dimension]);
      assert(usage.tokens > 0);
      assert.equal((await embed({ model, value: ASKED.question })).embedding.length, ASKED.dimension);
    },
  };
}
