// The official Anthropic client for Node, unmodified: does a little of everything, and prints what came of it as JSON.
import Anthropic from '@anthropic-ai/sdk';

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const tools = [{ name: 'weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }];
const asked = (script, more = {}) => ({
  model, max_tokens: 100, messages: [{ role: 'user', content: `hello [[script ${JSON.stringify(script)}]]` }], ...more,
});
const calls = ['Bonn', 'Ulm'].map((city) => ({ name: 'weather', arguments: { city } }));

// The class and status of the error that a call throws.
async function thrown(call) {
  try {
    await call();
    return null;
  } catch (error) {
    const kind = ['AuthenticationError', 'NotFoundError', 'BadRequestError', 'APIError'].find((name) => error instanceof Anthropic[name]);
    return { kind, status: error.status ?? null };
  }
}

const results = {};
results.chat = (await client.messages.create(asked({ text: 'All is well.' }))).content[0].text;
results.stream = '';
const stream = client.messages.stream(asked({ text: 'All is well.' })).on('text', (text) => (results.stream += text));
results.stopped = (await stream.finalMessage()).stop_reason;
const final = await client.messages.stream(asked({ tool_calls: calls, tool_fragments: 3 }, { tools })).finalMessage();
results.tools = final.content.filter((block) => block.type === 'tool_use').map((block) => block.input.city);
results.counted = (await client.messages.countTokens({ model, messages: asked({}).messages })).input_tokens > 0;

results.unknown_key = await thrown(() => new Anthropic({ baseURL, apiKey: 'sk-nobody', maxRetries: 0 }).messages.create(asked({})));
results.unknown_model = await thrown(() => client.messages.create(asked({}, { model: 'no-such' })));
results.wrong_field = await thrown(() => client.messages.create(asked({}, { max_tokens: -1 })));
results.broken = await thrown(() => client.messages.stream(asked({ words: 10, fault: 'error_in_200', after: 4 })).finalMessage());
console.log(JSON.stringify(results));
