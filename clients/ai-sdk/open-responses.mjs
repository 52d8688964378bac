// The ai-sdk's provider for Open Responses.

import { createOpenResponses } from "@ai-sdk/open-responses";
import { KEY, run, URL_V1 } from "../checks/checks.mjs";
import { chatting } from "./common.mjs";

const provider = (apiKey) => createOpenResponses({ name: "cogcore", url: `${URL_V1}/responses`, apiKey });

await run(chatting(provider(KEY)("cogcore/default"), (name, key = KEY) => provider(key)(name)));
