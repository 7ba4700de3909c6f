// The echo of app_asgi.py for the package `ws`: `node echo.js PORT`.
'use strict';

const { WebSocketServer } = require('ws');

// No compression, which no client here asks for; the backlog is hello.js's.
const options = { port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096, perMessageDeflate: false };
new WebSocketServer(options).on('connection', (socket) => {
  socket.on('message', (data, isBinary) => { socket.send(data, { binary: isBinary }); });
});
