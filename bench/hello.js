// The applications of apps.py and app_asgi.py for Node.js's own `http` module: `node hello.js PORT NAME`.
'use strict';

const http = require('node:http');

const HELLO = Buffer.from('Hello, World!');
const LARGE = Buffer.alloc(64 * 1024, 'x');
const BLOCK = Buffer.alloc(1024, 'x');

function whole(body, type = 'text/plain') {
  const fields = { 'Content-Type': type, 'Content-Length': body.length };
  return (request, response) => {
    response.writeHead(200, fields);
    response.end(body);
  };
}

function blocks(request, response) {
  response.writeHead(200, { 'Content-Type': 'text/plain' });
  for (let count = 0; count < 10; count++) response.write(BLOCK);
  response.end();
}

function upload(request, response) {
  let received = 0;
  request.on('data', (block) => { received += block.length; });
  request.on('end', () => whole(Buffer.from(String(received)))(request, response));
}

function echoJson(request, response) {
  const parts = [];
  request.on('data', (part) => { parts.push(part); });
  request.on('end', () => {
    const body = Buffer.from(JSON.stringify(JSON.parse(Buffer.concat(parts))));
    whole(body, 'application/json')(request, response);
  });
}

const answerHello = whole(HELLO);

function sleep(request, response) {
  const ms = Number(request.url.slice(1));
  if (ms) setTimeout(answerHello, ms, request, response);
  else answerHello(request, response);
}

const agent = new http.Agent({ keepAlive: true, maxSockets: Number(process.env.BENCH_BACKEND_POOL) || 1 });

function call(request, response) {
  const backend = { host: '127.0.0.1', port: process.env.BENCH_BACKEND_PORT, path: request.url, agent };
  http.get(backend, (answer) => {
    const parts = [];
    answer.on('data', (part) => { parts.push(part); });
    answer.on('end', () => whole(Buffer.concat(parts))(request, response));
  });
}

const handlers = {
  hello: answerHello, large: whole(LARGE), blocks, generator: blocks, upload, sleep, call, echo_json: echoJson,
};
const [port, name] = process.argv.slice(2);
// Thousands of clients may come at once; its default of 511 drops the others' first packet.
http.createServer(handlers[name]).listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
