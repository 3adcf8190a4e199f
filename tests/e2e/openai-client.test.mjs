// An application with the published openai client, over both transports: each of its calls, their errors and their ends.

import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import { test } from 'node:test';
import OpenAI, { toFile } from 'openai';
import { act, chatAnswer, chatChunk } from './fake-provider.mjs';
import { MESSAGES, counters, eventually, setup, within } from './harness.mjs';

globalThis.File ??= File; // the client asks for it, and node 18 has it elsewhere

const clientOf = (moon, options = {}) => new OpenAI({ baseURL: `${moon.url}/v1`, apiKey: 'of-the-client', maxRetries: 0, ...options });

const TOOLS = [{ type: 'function', function: { name: 'tide', parameters: { type: 'object', properties: { port: { type: 'string' } } } } }];

async function rejected(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}

for (const upstream of ['native', 'curl']) {
  const begin = (t, options = {}) => setup(t, { upstream, ...options });

  test(`chat: plain, with the fields of the answer at hand (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    const { data, response } = await clientOf(moon).chat.completions.create({ model: 'fake-model', messages: MESSAGES }).withResponse();
    assert.equal(data.choices[0].message.content, 'hello');
    assert.equal(response.headers.get('x-provider-address'), p.id);
    assert.equal(data._request_id, response.headers.get('x-request-id'));
  });

  test(`chat: a stream to its end, and one that the application leaves (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    const client = clientOf(moon);
    let text = '';
    let usage;
    for await (const chunk of await client.chat.completions.create({ model: 'fake-model', messages: MESSAGES, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage ??= chunk.usage;
    }
    assert.deepEqual([text, usage.total_tokens], ['hello', 8]);
    const left = p.manual();
    const opening = client.chat.completions.create({ model: 'fake-model', messages: MESSAGES, stream: true });
    const call = await left;
    call.streamHead().delta('one');
    const stream = await opening;
    for await (const chunk of stream) {
      assert.equal(chunk.choices[0].delta.content, 'one');
      break; // the client aborts
    }
    await within(call.closed, 5000, 'the end of the call');
    const waiting = p.manual();
    const abort = new AbortController();
    const never = rejected(client.chat.completions.create({ model: 'fake-model', messages: MESSAGES }, { signal: abort.signal }));
    const held = await waiting;
    abort.abort();
    assert.ok((await never) instanceof OpenAI.APIUserAbortError);
    await within(held.closed, 5000, 'the end of the call');
    await eventually(async () => (await counters(moon, p.id)).outcomes.client_closed === 2, 5000, 'two that left');
    assert.equal((await counters(moon, p.id)).isHealthy, true);
  });

  test(`chat: tools, whole and in pieces (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    const client = clientOf(moon);
    const tool = { id: 'call_1', type: 'function', function: { name: 'tide', arguments: '{"port":"Brest"}' } };
    p.next((call) => {
      assert.deepEqual(call.request.json().tools, TOOLS);
      const answer = chatAnswer(call);
      answer.choices[0] = { index: 0, message: { role: 'assistant', content: null, tool_calls: [tool] }, finish_reason: 'tool_calls' };
      call.respond(200, answer);
    });
    const whole = await client.chat.completions.create({ model: 'fake-model', messages: MESSAGES, tools: TOOLS });
    assert.deepEqual(whole.choices[0].message.tool_calls, [tool]);
    p.next((call) => {
      call.streamHead();
      for (const piece of ['{"port"', ':"Brest"}'])
        call.event(chatChunk(call, { choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: piece } }] }, finish_reason: null }] }));
      call.event(chatChunk(call, { choices: [{ index: 0, delta: {}, finish_reason: 'tool_calls' }] }));
      call.event('[DONE]').endChunks();
    });
    let said = '';
    for await (const chunk of await client.chat.completions.create({ model: 'fake-model', messages: MESSAGES, tools: TOOLS, stream: true }))
      said += chunk.choices[0].delta.tool_calls?.[0].function.arguments ?? '';
    assert.equal(said, tool.function.arguments);
  });

  test(`embeddings, as the client asks for them: base64 behind the scenes (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    p.next((call) => {
      assert.equal(call.request.target, '/v1/embeddings');
      assert.equal(call.request.json().encoding_format, 'base64');
      const embedding = Buffer.from(new Float32Array([0.5, -2]).buffer).toString('base64');
      call.respond(200, { object: 'list', model: 'fake-model', data: [{ object: 'embedding', index: 0, embedding }], usage: { prompt_tokens: 2, total_tokens: 2 } });
    });
    const r = await clientOf(moon).embeddings.create({ model: 'fake-model', input: 'moon' });
    assert.deepEqual([...r.data[0].embedding], [0.5, -2]);
  });

  test(`images: made, and edited by a form with a file (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    const client = clientOf(moon);
    p.always((call) => call.respond(200, { created: 1700000000, data: [{ b64_json: 'AAAA' }] }));
    const made = await client.images.generate({ model: 'fake-model', prompt: 'a moon' });
    assert.equal(made.data[0].b64_json, 'AAAA');
    const picture = Buffer.from(Array.from({ length: 70000 }, (_, i) => (i * 31) % 256));
    await client.images.edit({ model: 'fake-model', prompt: 'rounder', image: await toFile(picture, 'moon.png', { type: 'image/png' }) });
    const { header, body, target } = p.calls[1];
    assert.equal(target, '/v1/images/edits');
    assert.match(header('content-type'), /^multipart\/form-data; boundary=/);
    assert.ok(body.includes(picture), 'its bytes are the file\'s');
  });

  test(`audio: a file to text, and a text to bytes (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    const client = clientOf(moon);
    const sound = Buffer.from(Array.from({ length: 300000 }, (_, i) => (i * 7) % 256));
    p.next((call) => call.respond(200, { text: 'one small step' }));
    const heard = await client.audio.transcriptions.create({ model: 'fake-model', file: await toFile(sound, 'step.wav') });
    assert.equal(heard.text, 'one small step');
    assert.ok(p.calls[0].body.includes(sound));
    p.next((call) => call.respond(200, sound, { 'Content-Type': 'audio/mpeg' }));
    const spoken = await client.audio.speech.create({ model: 'fake-model', voice: 'alloy', input: 'one small step' });
    assert.equal(spoken.headers.get('content-type'), 'audio/mpeg');
    assert.deepEqual(Buffer.from(await spoken.arrayBuffer()), sound);
  });

  test(`responses: whole and streamed; models: listed (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    const client = clientOf(moon);
    const answer = {
      id: 'resp_1', object: 'response', status: 'completed', model: 'fake-model',
      output: [{ type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text: 'hello', annotations: [] }] }],
    };
    p.next((call) => call.respond(200, answer));
    assert.equal((await client.responses.create({ model: 'fake-model', input: 'hi' })).output_text, 'hello');
    p.next((call) => {
      call.streamHead();
      call.chunk(`event: response.output_text.delta\ndata: ${JSON.stringify({ type: 'response.output_text.delta', delta: 'hello' })}\n\n`);
      call.chunk(`event: response.completed\ndata: ${JSON.stringify({ type: 'response.completed', response: answer })}\n\n`);
      call.endChunks();
    });
    const types = [];
    for await (const event of await client.responses.create({ model: 'fake-model', input: 'hi', stream: true })) types.push(event.type);
    assert.deepEqual(types, ['response.output_text.delta', 'response.completed']);
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    assert.deepEqual(models, ['fake-model']);
    assert.equal((await client.models.retrieve('fake-model')).id, 'fake-model');
    assert.ok((await rejected(client.models.retrieve('no/such model'))) instanceof OpenAI.NotFoundError);
  });

  test(`errors are those of the client's own classes, with message, code and request id (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t, { clientKeys: ['of-the-client'], maxRetries: 0 });
    const client = clientOf(moon);
    const ask = (body = {}) => rejected(client.chat.completions.create({ model: 'fake-model', messages: MESSAGES, ...body }));
    const wrong = await ask({ messages: [] });
    assert.ok(wrong instanceof OpenAI.BadRequestError);
    assert.match(wrong.message, /Missing or invalid messages in request body/);
    assert.equal(wrong.code, 'invalid_messages');
    assert.ok(wrong.requestID);
    const stranger = clientOf(moon, { apiKey: 'of-nobody' });
    const key = await rejected(stranger.models.list());
    assert.ok(key instanceof OpenAI.AuthenticationError);
    assert.equal(key.code, 'invalid_api_key');
    p.next(act.status(422, { error: { message: 'n is too large', type: 'invalid_request_error', code: 'n' } }));
    const theirs = await ask();
    assert.ok(theirs instanceof OpenAI.UnprocessableEntityError);
    assert.equal(theirs.code, 'n');
    p.next(act.status(429, undefined, { 'Retry-After': '1' }));
    const busy = await ask();
    assert.ok(busy instanceof OpenAI.RateLimitError);
    assert.equal(busy.headers.get('retry-after'), '1');
    const nobody = await ask(); // the one provider pauses
    assert.equal(nobody.status, 503);
    assert.equal(nobody.code, 'no_available_provider');
    assert.ok(Number(nobody.headers.get('retry-after')) >= 1);
  });

  test(`a stream that breaks off is an error in the loop, not a short answer (${upstream})`, async (t) => {
    const { moon, providers: [p] } = await begin(t);
    p.next(act.truncatedStream(2));
    const stream = await clientOf(moon).chat.completions.create({ model: 'fake-model', messages: MESSAGES, stream: true });
    const error = await rejected((async () => {
      for await (const chunk of stream) assert.ok(chunk);
    })());
    assert.match(error.message, /broke off its answer/);
  });
}
