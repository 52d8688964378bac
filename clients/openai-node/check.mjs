// OpenAI's client for Node: what its users do, in its words.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { ASKED, assertShows, run, thrown } from "../checks/checks.mjs";

const client = new OpenAI(); // by OPENAI_BASE_URL and OPENAI_API_KEY
const user = (content) => [{ role: "user", content }];
const chat = { model: "cogcore", messages: user(ASKED.question) };
const fileSearch = { type: "file_search", vector_store_ids: ["default"] };
const respond = { model: "cogcore", input: ASKED.question, tools: [fileSearch] };
const weather = { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } };

async function all(page) {
  const items = [];
  for await (const item of page) items.push(item);
  return items;
}

await run({
  async models() {
    const names = (await all(client.models.list())).map((model) => model.id);
    assert(names.includes("cogcore") && names.includes(ASKED.embedder), names);
    assert.equal((await client.models.retrieve("cogcore")).owned_by, "cogcore");
  },

  async chat() {
    const reply = await client.chat.completions.create(chat);
    const { message, finish_reason } = reply.choices[0];
    assert(message.content.includes(ASKED.answer));
    assert.equal(finish_reason, "stop");
    const { url_citation } = message.annotations[0];
    assert.equal(url_citation.title, ASKED.file);
    await assertShows(url_citation.url, ASKED.answer);
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    assert(reply._request_id);
  },

  async "chat streamed"() {
    let [text, usage, annotations] = ["", null, []];
    const options = { include_usage: true };
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true, stream_options: options })) {
      usage = chunk.usage ?? usage;
      for (const { delta } of chunk.choices) {
        text += delta.content ?? "";
        annotations = annotations.concat(delta.annotations ?? []);
      }
    }
    assert(text.includes(ASKED.answer) && usage.total_tokens > 0);
    assert.equal(annotations[0].url_citation.title, ASKED.file);
  },

  async "chat stream helper"() {
    const stream = client.chat.completions.stream(chat);
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, text);
    assert(text.includes(ASKED.answer));
  },

  async "a stream that is hung up"() {
    const stream = await client.chat.completions.create({ ...chat, stream: true });
    for await (const _ of stream) break;
  },

  async "what the memory does not hold"() {
    const reply = await client.chat.completions.create({ ...chat, messages: user(ASKED.unanswerable) });
    assert(reply.choices[0].message.content.includes(ASKED.unknown));
    assert(reply.cogcore.abstained);
  },

  async "small talk"() {
    const reply = await client.chat.completions.create({ ...chat, messages: user(ASKED.small_talk) });
    assert(reply.choices[0].message.content);
    assert.deepEqual(reply.cogcore.searches, []);
  },

  async "a conversation goes on with what was answered"() {
    const first = await client.chat.completions.create(chat);
    const messages = [...chat.messages, first.choices[0].message, ...user("Thank you, that was helpful.")];
    assert((await client.chat.completions.create({ ...chat, messages })).choices[0].message.content);
  },

  async embeddings() {
    const asked = { model: ASKED.embedder, input: [ASKED.question, ASKED.document] };
    const packed = await client.embeddings.create(asked);
    const plain = await client.embeddings.create({ ...asked, encoding_format: "float" });
    assert.deepEqual(packed.data.map((one) => one.embedding.length), [ASKED.dimension, ASKED.dimension]);
    packed.data[0].embedding.forEach((x, n) => assert(Math.abs(x - plain.data[0].embedding[n]) < 1e-6));
  },

  async files() {
    const file = await toFile(Buffer.from(ASKED.document), "sorne.md");
    const made = await client.files.create({ file, purpose: "assistants" });
    assert.equal((await client.files.retrieve(made.id)).filename, "sorne.md");
    assert((await all(client.files.list())).some((one) => one.id === made.id));
    assert.equal(await (await client.files.content(made.id)).text(), ASKED.document);
    assert((await client.files.delete(made.id)).deleted);
    await thrown(OpenAI.NotFoundError, () => client.files.retrieve(made.id));
  },

  async "vector stores"() {
    const store = await client.vectorStores.create({ name: "rivers-of-node" });
    const file = await toFile(Buffer.from(ASKED.document), "sorne.md");
    const attached = await client.vectorStores.files.uploadAndPoll(store.id, file);
    assert.equal(attached.status, "completed");
    const files = [await toFile(Buffer.from("Ada Brandt."), "a.md"), await toFile(Buffer.from("The Little Ebb."), "b.md")];
    const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files });
    assert.equal(batch.file_counts.completed, 2);
    assert.equal((await all(client.vectorStores.files.list(store.id, { limit: 1 }))).length, 3); // it turns the pages
    const found = async () => (await all(client.vectorStores.search(store.id, { query: ASKED.document_question })))
      .map((one) => one.file_id);
    assert.equal((await found())[0], attached.id);
    const asked = { model: `cogcore/${store.id}`, messages: user(ASKED.document_question) };
    const reply = await client.chat.completions.create(asked);
    assert(reply.choices[0].message.content.includes(ASKED.document_answer));
    assert((await client.vectorStores.files.delete(attached.id, { vector_store_id: store.id })).deleted);
    assert(!(await found()).includes(attached.id));
    for (const one of await all(client.vectorStores.files.list(store.id))) await client.files.delete(one.id);
    await client.files.delete(attached.id);
    assert((await client.vectorStores.delete(store.id)).deleted);
    await thrown(OpenAI.NotFoundError, () => client.vectorStores.retrieve(store.id));
  },

  async responses() {
    const reply = await client.responses.create({ ...respond, include: ["file_search_call.results"] });
    assert.equal(reply.status, "completed");
    assert(reply.output_text.includes(ASKED.answer));
    const search = reply.output.find((item) => item.type === "file_search_call");
    assert.equal(search.results[0].filename, ASKED.file);
    const { annotations } = reply.output.find((item) => item.type === "message").content[0];
    assert.equal(annotations.find((one) => one.type === "file_citation").filename, ASKED.file);
    await assertShows(annotations.find((one) => one.type === "url_citation").url, ASKED.answer);
    const items = await all(client.responses.inputItems.list(reply.id));
    assert.equal(items[0].content[0].text, ASKED.question);
  },

  async "responses streamed"() {
    const kinds = [];
    for await (const event of await client.responses.create({ ...respond, stream: true })) kinds.push(event.type);
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    let text = "";
    const stream = client.responses.stream(respond);
    stream.on("response.output_text.delta", (event) => (text += event.delta));
    assert.equal((await stream.finalResponse()).output_text, text);
    assert(text.includes(ASKED.answer));
  },

  async "responses in the background"() {
    let made = await client.responses.create({ ...respond, background: true });
    while (["queued", "in_progress"].includes(made.status)) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      made = await client.responses.retrieve(made.id);
    }
    assert.equal(made.status, "completed");
    assert(made.output_text.includes(ASKED.answer));
    const again = await client.responses.stream({ response_id: made.id, starting_after: 0 }).finalResponse();
    assert.equal(again.output_text, made.output_text);
    assert.equal((await client.responses.cancel(made.id)).status, "completed");
    await client.responses.delete(made.id);
    await thrown(OpenAI.NotFoundError, () => client.responses.retrieve(made.id));
  },

  async "responses go on"() {
    const first = await client.responses.create({ model: "cogcore/default", input: ASKED.question });
    const thanks = { model: "cogcore/default", input: "Thank you, that was helpful." };
    const second = await client.responses.create({ ...thanks, previous_response_id: first.id });
    assert.equal(second.previous_response_id, first.id);
    const input = [...user(ASKED.question), ...first.output, ...user("Thank you.")];
    assert((await client.responses.create({ ...thanks, input, store: false })).output_text);
  },

  async "functions are refused by the embedded core"() {
    const tools = [{ type: "function", function: weather }];
    for (const stream of [false, true]) {
      const refused = await thrown(OpenAI.BadRequestError, () => client.chat.completions.create({ ...chat, tools, stream }));
      assert.equal(refused.param, "tools");
    }
    const asked = { ...respond, tools: [{ type: "function", ...weather }] };
    assert.equal((await thrown(OpenAI.BadRequestError, () => client.responses.create(asked))).param, "tools");
  },

  async "errors are the client's own"() {
    const unknown = await thrown(OpenAI.NotFoundError, () => client.chat.completions.create({ ...chat, model: "gpt-5" }));
    assert.equal(unknown.code, "model_not_found");
    const stranger = new OpenAI({ apiKey: "wrong" });
    const refused = await thrown(OpenAI.AuthenticationError, () => all(stranger.models.list()));
    assert.equal(refused.code, "invalid_api_key");
    const messages = user("river ".repeat(20_000));
    const long = await thrown(OpenAI.BadRequestError, () => client.chat.completions.create({ ...chat, messages }));
    assert.equal(long.code, "context_length_exceeded");
  },
});
