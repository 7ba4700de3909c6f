// The applications of apps.py for Node.js's own `http` module: `node hello.js PORT NAME`.
'use strict';

const http = require('node:http');

const HELLO = Buffer.from('Hello, World!');
const LARGE = Buffer.alloc(64 * 1024, 'x');
const BLOCK = Buffer.alloc(1024, 'x');

function whole(body) {
  const fields = { 'Content-Type': 'text/plain', 'Content-Length': body.length };
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

const handlers = { hello: whole(HELLO), large: whole(LARGE), blocks, generator: blocks, upload };
const [port, name] = process.argv.slice(2);
http.createServer(handlers[name]).listen(Number(port), '127.0.0.1');
