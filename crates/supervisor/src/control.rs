//! The control socket: what operators say to a supervisor other than by signals, and what they are told.
//!
//! One JSON object in a line asks (`{"verb": "workers", "count": 4}`), one answers; an answer with `error` says what is wrong. Who may
//! connect is root and the server's own user: the socket file has mode 0600, and the system is asked besides.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use serde_json::{Value, json};

/// Most bytes of a question.
const QUESTION_SIZE_MAX: usize = 4_096;

/// Most clients at once. Any more are sent away.
const CLIENTS_MAX: usize = 32;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How are you?
    Status,
    /// A reload; answered when it is over.
    Reload,
    /// A graceful stop.
    Stop,
    /// So many workers.
    Workers(usize),
    /// What all threads of all workers are at.
    Stacks,
    /// What one request is at.
    Stack {
        /// Its worker's number.
        worker: u32,
        /// Its number there.
        request: u64,
    },
    /// What the server has counted, and the requests that it has.
    State,
    /// A new server; answered when it has failed or succeeded.
    Upgrade,
}

/// The verbs, as they are written, and what they do.
pub const VERBS: [(&str, &str); 8] = [
    ("status", "Show the server and its workers"),
    ("reload", "Replace the workers by new ones, and wait for that"),
    ("stop", "Finish what is in flight, and end"),
    ("workers", "Have so many workers"),
    ("stacks", "Show what each thread of each worker is at, and each request"),
    ("stack", "Show what a request is at: its worker's number, and its own"),
    ("state", "Show the requests that the server has, and what it has counted"),
    ("upgrade", "Start the server anew in place of this one, and wait for that"),
];

impl Question {
    /// What this verb asks, if it is one and needs nothing more.
    pub fn named(verb: &str) -> Option<Self> {
        match verb {
            "status" => Some(Self::Status),
            "reload" => Some(Self::Reload),
            "stop" => Some(Self::Stop),
            "stacks" => Some(Self::Stacks),
            "state" => Some(Self::State),
            "upgrade" => Some(Self::Upgrade),
            _ => None,
        }
    }

    /// Reads a question.
    ///
    /// # Errors
    /// What is wrong with it, for whoever asked.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let question: Value =
            serde_json::from_slice(line).map_err(|error| format!("this is not JSON: {error}"))?;
        let verb = question["verb"].as_str().ok_or("a \"verb\" is missing")?;
        let count = &question["count"];
        if verb == "workers" {
            return match count.as_u64().and_then(|count| usize::try_from(count).ok()) {
                Some(count @ 1..) => Ok(Self::Workers(count)),
                _ => Err("workers needs a \"count\", which is a number from 1 on".to_owned()),
            };
        }
        if verb == "stack" {
            let number = |name: &str| question[name].as_u64();
            let worker = number("worker").and_then(|worker| u32::try_from(worker).ok());
            return match (worker, number("request")) {
                (Some(worker), Some(request)) => Ok(Self::Stack { worker, request }),
                _ => Err("stack needs a \"worker\" and a \"request\", which are numbers".to_owned()),
            };
        }
        Self::named(verb).ok_or_else(|| {
            let verbs = VERBS.map(|(verb, _)| verb).join(", ");
            format!("{verb:?} is no verb; accepted: {verbs}")
        })
    }

    /// As it is read.
    pub fn to_json(self) -> Value {
        match self {
            Self::Status => json!({"verb": "status"}),
            Self::Reload => json!({"verb": "reload"}),
            Self::Stop => json!({"verb": "stop"}),
            Self::Workers(count) => json!({"verb": "workers", "count": count}),
            Self::Stacks => json!({"verb": "stacks"}),
            Self::Stack { worker, request } => {
                json!({"verb": "stack", "worker": worker, "request": request})
            }
            Self::State => json!({"verb": "state"}),
            Self::Upgrade => json!({"verb": "upgrade"}),
        }
    }
}

/// Asks the server that has this socket, and waits for the answer.
///
/// # Errors
/// What the system says; [`ErrorKind::UnexpectedEof`] when the server ends before it answers.
pub fn ask(socket: &Path, question: Question) -> io::Result<Value> {
    ask_in_words(socket, &question.to_json())
}

/// The same, with a question as it is read.
pub(crate) fn ask_in_words(socket: &Path, question: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    // Who may not ask is told so, and not heard.
    let asked = stream.write_all(format!("{question}\n").as_bytes());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(asked.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// A client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(u64);

#[derive(Debug)]
struct Client {
    id: ClientId,
    stream: UnixStream,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It has said so much of its question.
    Asking(Vec<u8>),
    /// It waits for the answer.
    Waiting,
    /// So much of the answer is still to be taken.
    Answered(Vec<u8>),
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct Control {
    listener: OwnedFd,
    clients: Vec<Client>,
    last_id: u64,
}

impl Control {
    /// `listener` listens, and does not block.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener, clients: Vec::new(), last_id: 0 }
    }

    /// What is to be polled, and for what: of who waits for an answer, nothing is of interest.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let clients = self.clients.iter().filter_map(|client| match client.stage {
            Stage::Asking(_) => Some((client.stream.as_fd(), PollFlags::IN)),
            Stage::Waiting => None,
            Stage::Answered(_) => Some((client.stream.as_fd(), PollFlags::OUT)),
        });
        std::iter::once((self.listener.as_fd(), PollFlags::IN)).chain(clients)
    }

    /// Takes in who has come and `may_ask`, and what they say: whole questions, and those that cannot be read, which are answered. Sends
    /// what is left of answers, as far as it is taken.
    pub(crate) fn questions(
        &mut self,
        may_ask: impl Fn(BorrowedFd<'_>) -> bool,
    ) -> Vec<(ClientId, Question)> {
        self.clients.retain_mut(Client::goes_on);
        self.accept(may_ask);
        let mut questions = Vec::new();
        let mut over = Vec::new();
        for client in &mut self.clients {
            match client.hear() {
                Ok(None) => {}
                Ok(Some(line)) => match Question::read(&line) {
                    Ok(question) => questions.push((client.id, question)),
                    Err(reason) => over.push((client.id, json!({"error": reason}))),
                },
                // It has left, and reads no answer either.
                Err(_) => over.push((client.id, Value::Null)),
            }
        }
        for (id, answer) in over {
            self.answer(id, &answer);
        }
        questions
    }

    /// Answers a question, after which that client is done with as soon as it has taken the answer.
    pub(crate) fn answer(&mut self, id: ClientId, answer: &Value) {
        if let Some(index) = self.clients.iter().position(|client| client.id == id)
            && !self.clients[index].answer(answer)
        {
            self.clients.remove(index);
        }
    }

    fn accept(&mut self, may_ask: impl Fn(BorrowedFd<'_>) -> bool) {
        // Who comes faster than that is not to keep all else waiting.
        for _ in 0..CLIENTS_MAX {
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let may_ask = may_ask(socket.as_fd());
                    self.welcome(UnixStream::from(socket), may_ask);
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // Nobody, or no descriptors: who waits is looked at again.
                Err(_) => return,
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream, may_ask: bool) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        self.last_id += 1;
        let id = ClientId(self.last_id);
        let mut client = Client { id, stream, stage: Stage::Asking(Vec::new()) };
        if !may_ask {
            client.answer(&json!({"error": "only root and the server's own user may ask"}));
            return;
        }
        if self.clients.len() >= CLIENTS_MAX {
            // Who waits for an answer is the last to go.
            let waits = |client: &Client| matches!(client.stage, Stage::Waiting);
            let first = self.clients.iter().position(|client| !waits(client)).unwrap_or(0);
            self.clients.remove(first).answer(&json!({"error": "too many are asking"}));
        }
        self.clients.push(client);
    }
}

impl Client {
    /// A whole line, when there is one; one without an end is over when nothing more comes.
    fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Stage::Asking(heard) = &mut self.stage else { return Ok(None) };
        let mut bytes = [0; 1_024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) if heard.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(0) => {
                    let line = std::mem::take(heard);
                    self.stage = Stage::Waiting;
                    return Ok(Some(line));
                }
                Ok(count) => heard.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            let end = heard.iter().position(|&byte| byte == b'\n');
            if end.is_some() || heard.len() > QUESTION_SIZE_MAX {
                let mut line = std::mem::take(heard);
                line.truncate(end.unwrap_or(QUESTION_SIZE_MAX));
                self.stage = Stage::Waiting;
                return Ok(Some(line));
            }
        }
    }

    /// Says so, as far as it is taken at once, unless an answer is under way. False when there is nothing more to say.
    fn answer(&mut self, answer: &Value) -> bool {
        if !matches!(self.stage, Stage::Answered(_)) {
            self.stage = Stage::Answered(format!("{answer}\n").into());
        }
        self.goes_on()
    }

    /// Goes on with the answer, if there is one. False when all of it was taken, or nobody is there to take it.
    fn goes_on(&mut self) -> bool {
        let Stage::Answered(unsent) = &mut self.stage else { return true };
        while !unsent.is_empty() {
            match self.stream.write(unsent) {
                Ok(count) => drop(unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_back() {
        for question in [
            Question::Status,
            Question::Reload,
            Question::Stop,
            Question::Workers(4),
            Question::Stacks,
            Question::State,
            Question::Upgrade,
        ] {
            assert_eq!(Question::read(question.to_json().to_string().as_bytes()), Ok(question));
        }
    }

    #[test]
    fn who_takes_a_long_answer_slowly_has_all_of_it_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut control = Control::new(listener.into());
        let mut slow = UnixStream::connect(&path).unwrap();
        slow.write_all(b"{\"verb\": \"state\"}\n").unwrap();
        let asked = control.questions(|_| true);
        let [(id, Question::State)] = asked[..] else { panic!("{asked:?}") };
        let answer = json!({"long": "x".repeat(4 << 20)});
        control.answer(id, &answer);
        assert!(control.watched().any(|(_, flags)| flags == PollFlags::OUT));
        slow.set_nonblocking(true).unwrap();
        let (mut taken, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match slow.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => taken.extend_from_slice(&bytes[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(control.questions(|_| true).is_empty());
        }
        assert_eq!(taken, format!("{answer}\n").into_bytes());
        assert_eq!(control.watched().count(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let told = |line: &str| Question::read(line.as_bytes()).expect_err("not a question");
        assert!(told("GET / HTTP/1.1").starts_with("this is not JSON"));
        assert!(told("[]").contains("verb"));
        assert!(told(r#"{"verb": "dance"}"#).contains("accepted: status, reload"));
        for count in ["0", "-1", "1.5", "\"4\"", "null", "1e400"] {
            let line = format!("{{\"verb\": \"workers\", \"count\": {count}}}");
            assert!(Question::read(line.as_bytes()).is_err(), "{count}");
        }
    }
}
