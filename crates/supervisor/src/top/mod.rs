//! `tidegate top`: what a server is at, in a terminal, each second.
//!
//! - `state`: what the server tells over its control socket, and what follows from two such looks.
//! - `line`: text in columns of a terminal's cells, with tones.
//! - `frame`: from a state to lines. Pure: neither a clock nor a terminal.
//! - `view`: what is chosen and shown, and what keys do to it.
//! - `terminal`: raw mode, the alternate screen, its size, keys; put back as it was at the end.
//!
//! The terminal is plain escape sequences: ratatui would bring as many crates as all else here together, for one screen.

mod frame;
mod line;
mod state;
mod terminal;
mod view;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::control;
use frame::{Room, frame, stack_frame};
use line::Glyphs;
use state::{History, State};
use terminal::{Key, Terminal};
use view::{Stack, View, Wish};

/// How often the server is asked.
const ROUND: Duration = Duration::from_secs(1);

/// After so long without an answer it is said that there is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the rest of a key's bytes may be on its way; Escape alone is known by there being none.
const KEY_GAP: Duration = Duration::from_millis(50);

/// One frame, as plain text.
///
/// # Errors
/// What the system says, or the server.
pub fn once(socket: &Path) -> io::Result<String> {
    let mut history = History::default();
    history.add(look(socket)?, Duration::ZERO);
    let began = Instant::now();
    // Rates are differences.
    thread::sleep(ROUND);
    history.add(look(socket)?, began.elapsed());
    let room = Room { columns: terminal::columns_of_output(), rows: None };
    let lines = frame(&history, &View::default(), room, Glyphs::of_environment());
    Ok(lines.iter().map(|line| format!("{}\n", line.plain())).collect())
}

/// Shows the server until somebody has seen enough, or a signal comes: bytes of `signals` are their numbers, and `window_changed` is no
/// end. Gives the signal that ended it.
///
/// # Errors
/// What the system says, or the server the first time.
pub fn watch(socket: &Path, signals: &OwnedFd, window_changed: u8) -> io::Result<Option<u8>> {
    // What is wrong at once is said in a line, not in a screen.
    let first = look(socket)?;
    let mut terminal = Terminal::enter()?;
    let glyphs = Glyphs::of_environment();
    let began = Instant::now();
    let mut history = History::default();
    history.add(first, Duration::ZERO);
    let mut view = View::default();
    let states = Asker::start(socket)?;
    let stacks = Asker::start(socket)?;
    let mut heard = began;
    let mut next = began + ROUND;
    let mut trouble = None;
    loop {
        let silence = heard.elapsed();
        if trouble.is_some() || silence > PATIENCE {
            let reason = trouble.as_deref().unwrap_or("it does not answer");
            view.trouble = Some(format!("{reason} ({} s)", silence.as_secs()));
        }
        let size = terminal.size();
        let lines = match &view.stack {
            Some(stack) => stack_frame(stack, history.latest(), size, glyphs),
            None => frame(&history, &view, size, glyphs),
        };
        terminal.draw(&lines)?;

        let now = Instant::now();
        let wait = if terminal.is_amid_a_key() { KEY_GAP } else { next.saturating_duration_since(now) };
        let ready = {
            let (from_keys, input) = (PollFlags::IN, terminal.input());
            let mut watched = [
                PollFd::from_borrowed_fd(input, from_keys),
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(&states.notice, PollFlags::IN),
                PollFd::new(&stacks.notice, PollFlags::IN),
            ];
            let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
            match poll(&mut watched, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            watched.map(|one| !one.revents().is_empty())
        };
        let [keys, signalled, told, stacked] = ready;
        if signalled {
            match read_byte(signals)? {
                byte if byte == window_changed => {}
                byte => return Ok(Some(byte)),
            }
        }
        if told {
            match states.answer() {
                Ok(state) => {
                    heard = Instant::now();
                    (trouble, view.trouble) = (None, None);
                    history.add(State::read(&state), began.elapsed());
                    view.settle(history.latest());
                }
                Err(error) => trouble = Some(in_words(&error)),
            }
        }
        if stacked {
            let answer = stacks.answer();
            if let Some(stack) = &mut view.stack {
                stack.take(&answer.map_err(|error| in_words(&error)));
            }
        }
        if Instant::now() >= next {
            states.ask(json!({"verb": "state"}));
            next += ROUND;
            // A process that was stopped does not catch up.
            next = next.max(Instant::now());
        }
        let pressed = if keys || terminal.is_amid_a_key() { terminal.keys(keys)? } else { Vec::new() };
        for key in pressed {
            if key == Key::Suspend {
                terminal.suspend()?;
                continue;
            }
            match view.press(key, history.latest(), size) {
                Some(Wish::Leave) => return Ok(None),
                Some(Wish::Stack) => {
                    if let Some(Stack { worker, number, .. }) = view.stack {
                        stacks.ask(json!({"verb": "stack", "worker": worker, "request": number}));
                    }
                }
                None => {}
            }
        }
    }
}

/// What went wrong with a question, in words that an operator knows.
pub fn in_words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => "no server is there".to_owned(),
        ErrorKind::UnexpectedEof => "the server has ended".to_owned(),
        _ => error.to_string(),
    }
}

fn look(socket: &Path) -> io::Result<State> {
    ask(socket, &json!({"verb": "state"})).map(|answer| State::read(&answer))
}

fn ask(socket: &Path, question: &Value) -> io::Result<Value> {
    let answer = control::ask_in_words(socket, question)?;
    match answer["error"].as_str() {
        Some(error) => Err(io::Error::other(line::shown(error))),
        None => Ok(answer),
    }
}

fn read_byte(from: &OwnedFd) -> io::Result<u8> {
    let mut byte = [0];
    match rustix::io::read(from, &mut byte)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

/// Asks on a thread of its own, so that a server that takes its time does not keep keys waiting.
struct Asker {
    questions: Sender<Value>,
    answers: Receiver<io::Result<Value>>,
    /// Readable when there is an answer.
    notice: UnixStream,
}

impl Asker {
    fn start(socket: &Path) -> io::Result<Self> {
        let (questions, asked) = channel::<Value>();
        let (tell, answers) = channel();
        let (notice, mut noticed) = UnixStream::pair()?;
        let socket: PathBuf = socket.to_owned();
        thread::Builder::new().name("tidegate-top".into()).spawn(move || {
            while let Ok(mut question) = asked.recv() {
                // Of what has queued up behind a slow answer the last is wanted.
                while let Ok(later) = asked.try_recv() {
                    question = later;
                }
                if tell.send(ask(&socket, &question)).is_err() || noticed.write_all(&[0]).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { questions, answers, notice })
    }

    fn ask(&self, question: Value) {
        // The thread ends after this value only.
        let _ = self.questions.send(question);
    }

    /// After a notice.
    fn answer(&self) -> io::Result<Value> {
        (&self.notice).read_exact(&mut [0])?;
        self.answers.recv().map_err(|_| ErrorKind::UnexpectedEof)?
    }
}
