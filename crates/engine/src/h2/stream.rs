//! What carries the bytes of one request and its response: a stream of the `h2` crate.
//!
//! A head that is to be sent waits for what is sent after it, so that a response without a body is one frame and one with a body that is known
//! ends with its last bytes, and not with an empty frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use tidegate_http::ResponseTrailers;

use super::head::Fields;
use super::line::Line;
use crate::socket::Moved;
use crate::tls::TlsSession;

/// Bytes of a file that are read at once.
const FILE_PIECE_MAX: usize = 64 * 1024;

/// A stream, shared by its connection's two sides: what is said of a response, and what carries its bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    line: Arc<Line>,
    /// What was agreed on with the peer of the connection, where TLS is spoken.
    tls: Option<Arc<TlsSession>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    receive: Option<RecvStream>,
    /// What has come and is not taken.
    chunk: Bytes,
    respond: Option<SendResponse<Bytes>>,
    send: Option<SendStream<Bytes>>,
    /// The head that goes with what is sent next.
    head: Option<Response<()>>,
    end: End,
    waker: Option<Waker>,
}

/// How far a response is from its end.
#[derive(Debug)]
enum End {
    /// More will come.
    Open,
    /// What was given is all there is, but for these.
    Due(Option<HeaderMap>),
    /// It is sent.
    Sent,
}

impl Stream {
    pub(super) fn new(
        line: Arc<Line>,
        tls: Option<Arc<TlsSession>>,
        receive: Option<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let state = State {
            receive,
            chunk: Bytes::new(),
            respond: Some(respond),
            send: None,
            head: None,
            end: End::Open,
            waker: None,
        };
        Self { line, tls, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is to be woken when anything happens on it.
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.lock().waker = Some(waker);
    }

    /// Whether the peer has reset it, or its connection is lost. Asks to be woken when that happens.
    pub(crate) fn is_reset(&self) -> bool {
        let mut state = self.lock();
        let State { respond, send, waker: Some(waker), .. } = &mut *state else { return false };
        let mut context = Context::from_waker(waker);
        match (send, respond) {
            (Some(send), _) => send.poll_reset(&mut context).is_ready(),
            (None, Some(respond)) => respond.poll_reset(&mut context).is_ready(),
            (None, None) => false,
        }
    }

    /// The head of the response.
    pub(crate) fn set_head(&self, status: u16, fields: Fields) {
        self.lock().head = Some(fields.into_response(status));
    }

    /// Nothing more of the response will be given.
    pub(crate) fn set_end(&self, trailers: &ResponseTrailers) {
        let trailers = (!trailers.is_empty()).then(|| Fields::of_trailers(trailers));
        self.lock().end = End::Due(trailers);
    }

    /// Sends an interim response.
    pub(crate) fn send_informational(&self, status: u16, fields: Fields) {
        if let Some(respond) = &mut self.lock().respond {
            // A peer that is gone is seen elsewhere.
            let _ = respond.send_informational(fields.into_response(status));
        }
    }

    /// Whether the connection that carries it sends no more, or is lost.
    pub(crate) fn is_ended(&self) -> bool {
        self.line.is_ended()
    }

    pub(crate) fn tls(&self) -> Option<&Arc<TlsSession>> {
        self.tls.as_ref()
    }

    /// Receives what has come, up to the size of `buffer`.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Moved {
        let size = buffer.len();
        let mut filled = 0;
        self.receive_through(size, |bytes| {
            buffer[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        })
    }

    /// The same, onto the end of `buffer`.
    pub(crate) fn receive_onto(&self, buffer: &mut Vec<u8>, most: usize) -> Moved {
        self.receive_through(most, |bytes| buffer.extend_from_slice(bytes))
    }

    fn receive_through(&self, most: usize, mut take: impl FnMut(&[u8])) -> Moved {
        let mut state = self.lock();
        let mut received = 0;
        loop {
            let count = state.chunk.len().min(most - received);
            if count > 0 {
                take(&state.chunk[..count]);
                state.chunk.advance(count);
                received += count;
                // What was taken makes room for more: a stream of which nothing is taken holds up only itself.
                if let Some(receive) = &mut state.receive {
                    let _ = receive.flow_control().release_capacity(count);
                }
            }
            if received == most {
                return Moved::Bytes(received);
            }
            match state.next_chunk() {
                Moved::Bytes(_) => {}
                _ if received > 0 => return Moved::Bytes(received),
                other => return other,
            }
        }
    }

    /// Sends bytes, as many as flow control lets it. `more`: others wait to be sent after them.
    pub(crate) fn send(&self, bytes: &[u8], more: bool) -> Moved {
        self.send_with(bytes.len(), more, |count| Ok(Bytes::copy_from_slice(&bytes[..count])))
    }

    /// The same, and takes off what was sent.
    pub(crate) fn send_shared(&self, bytes: &mut Bytes, more: bool) -> Moved {
        self.send_with(bytes.len(), more, |count| Ok(bytes.split_to(count)))
    }

    /// Sends file bytes from `offset`, which moves with them.
    pub(crate) fn send_file(&self, file: &File, offset: &mut u64, count: usize, more: bool) -> Moved {
        let size = count.min(FILE_PIECE_MAX);
        let moved = self.send_with(size, more || size < count, |count| {
            let mut piece = vec![0; count];
            file.read_exact_at(&mut piece, *offset)?;
            Ok(piece.into())
        });
        if let Moved::Bytes(count) = moved {
            *offset += count as u64;
        }
        moved
    }

    fn send_with(&self, size: usize, more: bool, take: impl FnOnce(usize) -> io::Result<Bytes>) -> Moved {
        let mut state = self.lock();
        if let Some(kind) = state.send_head(false) {
            return Moved::Lost(kind);
        }
        let room = match state.room_for(size) {
            Moved::Bytes(room) => room.min(size),
            other => return other,
        };
        let bytes = match take(room) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Moved::End,
            Err(error) => return Moved::Lost(error.kind()),
        };
        let is_last = room == size && !more && matches!(state.end, End::Due(None));
        let sent = state.send.as_mut().map(|send| send.send_data(bytes, is_last));
        match sent {
            Some(Ok(())) => {
                if is_last {
                    state.end = End::Sent;
                }
                drop(state);
                self.line.note_response();
                Moved::Bytes(room)
            }
            _ => Moved::Lost(io::ErrorKind::ConnectionReset),
        }
    }

    /// All that was given is sent: what is left is a head without a body, or an end that nothing has carried. Why it cannot be sent, if it
    /// cannot.
    pub(crate) fn conclude(&self) -> Option<io::ErrorKind> {
        let mut state = self.lock();
        let is_over = matches!(state.end, End::Due(None));
        let head_waits = state.head.is_some();
        if let Some(kind) = state.send_head(is_over) {
            return Some(kind);
        }
        if head_waits {
            self.line.note_response();
        }
        let sent = match std::mem::replace(&mut state.end, End::Sent) {
            End::Open => {
                state.end = End::Open;
                return None;
            }
            End::Sent => return None,
            // It has gone with the head.
            End::Due(None) if head_waits => return None,
            End::Due(None) => state.send.as_mut().map(|send| send.send_data(Bytes::new(), true)),
            End::Due(Some(trailers)) => state.send.as_mut().map(|send| send.send_trailers(trailers)),
        };
        match sent {
            Some(Ok(())) => None,
            _ => Some(io::ErrorKind::ConnectionReset),
        }
    }

    /// It is not begun, and may be sent again.
    pub(crate) fn refuse(self) {
        if let Some(respond) = &mut self.lock().respond {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    }

    /// It is over: what is not at its end is reset.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        let is_whole = matches!(state.end, End::Sent);
        let (respond, send) = (state.respond.take(), state.send.take());
        let receive = state.receive.take();
        let waker = state.waker.take();
        state.chunk = Bytes::new();
        state.head = None;
        drop(state);
        match (send, respond) {
            (Some(mut send), _) if !is_whole => send.send_reset(Reason::INTERNAL_ERROR),
            (None, Some(mut respond)) if !is_whole => respond.send_reset(Reason::INTERNAL_ERROR),
            // The crate resets a body that goes on with NO_ERROR (RFC 9113 section 8.1).
            _ => {}
        }
        drop((receive, waker));
    }
}

impl State {
    /// Polls for more of the body.
    fn next_chunk(&mut self) -> Moved {
        let (Some(receive), Some(waker)) = (&mut self.receive, &self.waker) else { return Moved::End };
        let mut context = Context::from_waker(waker);
        loop {
            match receive.poll_data(&mut context) {
                // An empty frame.
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => {}
                Poll::Ready(Some(Ok(chunk))) => {
                    self.chunk = chunk;
                    return Moved::Bytes(self.chunk.len());
                }
                Poll::Ready(Some(Err(_))) => return Moved::Lost(io::ErrorKind::ConnectionReset),
                // Trailers are dropped, as in HTTP/1.1.
                Poll::Ready(None) => return Moved::End,
                Poll::Pending => return Moved::Blocked,
            }
        }
    }

    /// Sends the head, if it waits.
    fn send_head(&mut self, is_over: bool) -> Option<io::ErrorKind> {
        let head = self.head.take()?;
        match self.respond.as_mut().map(|respond| respond.send_response(head, is_over)) {
            Some(Ok(send)) => {
                self.send = Some(send);
                None
            }
            _ => Some(io::ErrorKind::ConnectionReset),
        }
    }

    /// How many bytes flow control lets be sent of so many.
    fn room_for(&mut self, size: usize) -> Moved {
        let (Some(send), Some(waker)) = (&mut self.send, &self.waker) else {
            return Moved::Lost(io::ErrorKind::BrokenPipe);
        };
        send.reserve_capacity(size);
        let mut context = Context::from_waker(waker);
        match send.capacity() {
            0 => match send.poll_capacity(&mut context) {
                Poll::Ready(Some(Ok(0))) | Poll::Pending => Moved::Blocked,
                Poll::Ready(Some(Ok(room))) => Moved::Bytes(room),
                Poll::Ready(None | Some(Err(_))) => Moved::Lost(io::ErrorKind::ConnectionReset),
            },
            room => Moved::Bytes(room),
        }
    }
}
