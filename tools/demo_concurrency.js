// examples/waiting.py for Node.js: `node demo_concurrency.js PORT`.
'use strict';

const http = require('node:http');

const WAIT_MS = 100;
const ANSWER = Buffer.from('waited\n');

const server = http.createServer((request, response) => {
  setTimeout(() => {
    response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': ANSWER.length });
    response.end(ANSWER);
  }, WAIT_MS);
});
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
