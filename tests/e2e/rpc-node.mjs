// A node between the program and the test's chain that can be late, forgetful, behind, or a liar.
//
//   const node = await RpcNode.start(t, chain);
//   node.faults.eth_sendRawTransaction = fault.loseAnswer;       // one method; '*' for all that have none of their own
//   node.next('eth_sendRawTransaction', fault.answer({ error }));  // once
//   node.behind = 2;                                             // blocks
//
// A fault is async (call, node) => what is answered: { result } or { error }, or 'silence', 'reset', { status, body }.
// call: { method, params, forward(params) } — forward() asks the chain's own node as often as wanted.

import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { loadEthers } from './chain.mjs';

const quantity = (n) => `0x${BigInt(n).toString(16)}`;

export const fault = {
  loseAnswer: async (call) => (await call.forward(), 'reset'),
  silence: async () => 'silence',
  silenceAfter: async (call) => (await call.forward(), 'silence'),
  reset: async () => 'reset',
  answer: (answer) => async () => answer,
  // The chain gets it, and the node says something else of it.
  answerAfter: (answer) => async (call) => (await call.forward(), answer),
  error: (message, code = -32000, data = undefined) => async () => ({ error: { code, message, data } }),
  errorAfter: (message, code = -32000) => async (call) => (await call.forward(), { error: { code, message } }),
  slow: (ms) => async (call) => (await new Promise((r) => setTimeout(r, ms)), call.forward()),
  status: (status, body = '') => async () => ({ status, body }),
  huge: (bytes) => async () => ({ status: 200, body: `{"jsonrpc":"2.0","id":1,"result":"0x${'0'.repeat(bytes)}"}` }),
};

export class RpcNode {
  faults = {};
  once = {};
  behind = 0;
  calls = []; // { method, params }
  sent = []; // of eth_sendRawTransaction: { raw, hash, nonce, to, value, data }, as ethers reads them

  static async start(t, chain) {
    const node = new RpcNode(chain);
    await node.listen();
    t.after(() => node.stop());
    return node;
  }

  constructor(chain) {
    this.chain = chain;
    this.sockets = new Set();
    this.server = http.createServer((req, res) => this.#take(req, res));
    this.server.on('connection', (s) => {
      this.sockets.add(s);
      s.on('close', () => this.sockets.delete(s));
    });
  }

  async listen(port = 0) {
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
  }

  async stop() {
    for (const s of this.sockets) s.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  next(method, f) {
    (this.once[method] ??= []).push(f);
  }

  count(method) {
    return this.calls.filter((c) => c.method === method).length;
  }

  #take(req, res) {
    const parts = [];
    req.on('data', (b) => parts.push(b));
    req.on('end', async () => {
      let answer;
      let id = null;
      try {
        const body = JSON.parse(Buffer.concat(parts));
        ({ id } = body);
        answer = await this.#answer(body.method, body.params);
      } catch (error) {
        answer = { error: { code: -32603, message: String(error) } };
      }
      if (answer === 'silence') return;
      if (answer === 'reset') {
        req.socket.destroy();
        return;
      }
      res.statusCode = answer.status ?? 200;
      res.setHeader('Content-Type', 'application/json');
      res.end(answer.body ?? JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
    });
  }

  async #answer(method, params) {
    this.calls.push({ method, params });
    if (method === 'eth_sendRawTransaction') this.#note(params[0]);
    const forward = (p = params) => this.#forward(method, p);
    const f = this.once[method]?.shift() ?? this.faults[method] ?? this.faults['*'];
    return f ? f({ method, params, forward }, this) : forward();
  }

  #note(raw) {
    const tx = loadEthers().Transaction.from(raw);
    this.sent.push({ raw, hash: tx.hash, nonce: tx.nonce, to: tx.to, value: tx.value, data: tx.data, price: tx.maxFeePerGas ?? tx.gasPrice });
  }

  // What the chain's node says, seen from a block of some time ago.
  async #forward(method, params) {
    if (this.behind === 0) return this.#ask(method, params);
    const { result: head } = await this.#ask('eth_blockNumber', []);
    const seen = quantity(BigInt(head) > BigInt(this.behind) ? BigInt(head) - BigInt(this.behind) : 0n);
    if (method === 'eth_blockNumber') return { result: seen };
    if (method === 'eth_getTransactionReceipt') {
      const answer = await this.#ask(method, params);
      return answer.result && BigInt(answer.result.blockNumber) > BigInt(seen) ? { result: null } : answer;
    }
    const at = { eth_call: 1, eth_getBalance: 1, eth_getTransactionCount: 1, eth_getBlockByNumber: 0, eth_estimateGas: 1 }[method];
    if (at === undefined) return this.#ask(method, params);
    const asked = params[at] ?? 'latest';
    if (/^0x/.test(asked) && BigInt(asked) > BigInt(seen)) return { error: { code: -32000, message: 'header not found' } };
    const moved = [...params];
    moved[at] = /^0x/.test(asked) ? asked : seen;
    return this.#ask(method, moved);
  }

  async #ask(method, params) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: randomUUID(), method, params });
    const r = await fetch(this.chain.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    const { result, error } = await r.json();
    return error ? { error } : { result };
  }
}
