// What OpenAI's own client for JavaScript makes of the server: test_node.py runs it.
import OpenAI from "openai";

const baseURL = process.argv[2];
const [asked, calls] = process.argv.slice(3).map((text) => JSON.parse(text));
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });

const whole = await client.chat.completions.create(asked);

const chunks = [];
const stream = await client.chat.completions.create({
  ...asked,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) chunks.push(chunk);

// Here the client puts the pieces of a call together itself.
const runner = client.chat.completions.stream({ ...asked, ...calls });
const final = await runner.finalChatCompletion();

const completion = await client.completions.create({
  model: "grimm",
  prompt: "The king",
  seed: 1,
  max_tokens: 5,
});
const response = await client.responses.create({
  model: "grimm",
  input: "The king",
  max_output_tokens: 5,
  store: false,
});
const events = [];
const told = await client.responses.create({
  model: "grimm",
  input: "The king",
  max_output_tokens: 5,
  stream: true,
});
for await (const event of told) events.push(event.type);

const models = [];
for await (const model of client.models.list()) models.push(model.id);

let refused;
try {
  await client.chat.completions.create({ ...asked, top_p: 2 });
} catch (error) {
  refused = { kind: error.constructor.name, status: error.status, message: error.message };
}

// A reader who leaves in the middle of a stream, as a page does that is closed.
const left = await client.chat.completions.create({ ...asked, stream: true });
for await (const _ of left) break;
left.controller.abort();

console.log(
  JSON.stringify({
    whole,
    text: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
    usage: chunks.at(-1).usage,
    calls: final.choices[0].message.tool_calls,
    completion: completion.choices[0].text,
    response: response.output_text,
    events,
    models,
    refused,
  }),
);
