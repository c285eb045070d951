// The official OpenAI client for Node, unmodified: does a little of everything, and prints what came of it as JSON.
import OpenAI from 'openai';

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const tools = [{ type: 'function', function: { name: 'weather', parameters: schema } }];
const told = (script) => [{ role: 'user', content: `hello [[script ${JSON.stringify(script)}]]` }];
const calls = ['Bonn', 'Ulm'].map((city) => ({ name: 'weather', arguments: { city } }));

// The class, status and code of the error that a call throws.
async function thrown(call) {
  try {
    await call();
    return null;
  } catch (error) {
    const kind = ['AuthenticationError', 'NotFoundError', 'BadRequestError', 'APIError'].find((name) => error instanceof OpenAI[name]);
    return { kind, status: error.status ?? null, code: error.code ?? null };
  }
}

const results = {};
const whole = await client.chat.completions.create({ model, messages: told({ text: 'All is well.' }) });
results.chat = whole.choices[0].message.content;

const stream = await client.chat.completions.create({
  model, messages: told({ text: 'All is well.' }), stream: true, stream_options: { include_usage: true },
});
results.stream = '';
for await (const chunk of stream) {
  results.stream += chunk.choices[0]?.delta.content ?? '';
  results.counted = Boolean(chunk.usage);
}

const final = await client.chat.completions
  .stream({ model, messages: told({ tool_calls: calls, tool_fragments: 3 }), tools })
  .finalChatCompletion();
results.tools = final.choices[0].message.tool_calls.map((call) => JSON.parse(call.function.arguments).city);

const parsed = await client.chat.completions.parse({
  model, messages: told({ text: '{"city": "Bonn"}' }),
  response_format: { type: 'json_schema', json_schema: { name: 'place', schema, strict: true } },
});
results.structure = JSON.parse(parsed.choices[0].message.content).city;

results.models = [];
for await (const found of client.models.list()) results.models.push(found.id);
results.retrieved = (await client.models.retrieve(model)).id;
results.embeddings = (await client.embeddings.create({ model: 'plain', input: ['a', 'b'] })).data.map((item) => item.embedding.length > 0);

const nobody = client.withOptions({ apiKey: 'sk-nobody' });
results.unknown_key = await thrown(() => nobody.models.list());
results.unknown_model = await thrown(() => client.chat.completions.create({ model: 'no-such', messages: told({}) }));
results.wrong_field = await thrown(() => client.chat.completions.create({ model, messages: told({}), temperature: 3 }));
results.broken = await thrown(async () => {
  const failing = await client.chat.completions.create({ model, messages: told({ words: 10, fault: 'error_in_200', after: 4 }), stream: true });
  for await (const chunk of failing) void chunk;
});
console.log(JSON.stringify(results));
