//! The terminal: taken for a screen of our own, and given back as it was.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::BorrowedFd;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::frame::Room;
use super::line::Line;

/// Where nothing says how large a terminal is.
const USUAL: (usize, usize) = (80, 24);

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Escape,
    Suspend,
    Quit,
    Sort,
    Again,
}

/// While this lives, the terminal is ours. It has its former state back when this is dropped, be it by a panic.
pub(super) struct Terminal {
    former: Termios,
    colours: bool,
    /// Bytes of a key that is not whole.
    pending: Vec<u8>,
}

impl Terminal {
    pub(super) fn enter() -> io::Result<Self> {
        let named = std::env::var("TERM").unwrap_or_default();
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() || matches!(&*named, "" | "dumb") {
            let advice = "top needs a terminal; --once prints one frame";
            return Err(io::Error::new(ErrorKind::Unsupported, advice));
        }
        let former = tcgetattr(io::stdin())?;
        // https://no-color.org
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = Self { former, colours, pending: Vec::new() };
        terminal.take()?;
        Ok(terminal)
    }

    fn take(&self) -> io::Result<()> {
        let mut raw = self.former.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        // The alternate screen, so that the former one is there afterwards, and no cursor.
        write("\x1b[?1049h\x1b[?25l")
    }

    fn give_back(&self) {
        // Of the two, each is worth trying where the other fails.
        let _ = write("\x1b[0m\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.former);
    }

    /// Stops this process, as Ctrl-Z does where keys are not read raw.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.give_back();
        kill_process(getpid(), Signal::TSTP)?;
        self.take()
    }

    pub(super) fn size(&self) -> Room {
        let (columns, rows) = size().unwrap_or(USUAL);
        Room { columns, rows: Some(rows) }
    }

    pub(super) fn input(&self) -> BorrowedFd<'static> {
        rustix::stdio::stdin()
    }

    /// All at once, over what was there: nothing flickers.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let (columns, rows) = size().unwrap_or(USUAL);
        let drawn = lines.iter().take(rows).map(|line| line.drawn(columns, self.colours) + "\x1b[K");
        let drawn: Vec<String> = drawn.collect();
        write(&format!("\x1b[?2026h\x1b[H{}\x1b[J\x1b[?2026l", drawn.join("\r\n")))
    }

    pub(super) fn is_amid_a_key(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The keys that were pressed. Where nothing is `readable`, what is pending is all there will be.
    pub(super) fn keys(&mut self, readable: bool) -> io::Result<Vec<Key>> {
        if readable {
            let mut bytes = [0; 256];
            match rustix::io::read(self.input(), &mut bytes)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.pending.extend_from_slice(&bytes[..count]),
            }
        }
        let (keys, used) = parse(&self.pending, readable);
        self.pending.drain(..used);
        Ok(keys)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How wide lines are to be that go to standard output.
pub(super) fn columns_of_output() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.or_else(|| size().map(|(columns, _)| columns)).unwrap_or(USUAL.0).clamp(40, 1_000)
}

fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Keys in these bytes, and how many of them are used up: with `more` to come, a key may not be whole.
fn parse(bytes: &[u8], more: bool) -> (Vec<Key>, usize) {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let (key, length) = match (first, after) {
            (0x1b, []) if more => break,
            (0x1b, [b'[' | b'O', sequence @ ..]) => {
                // Parameters, and a final byte (ECMA-48, 5.4).
                let Some(end) = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
                    if more && sequence.len() < 16 {
                        break;
                    }
                    return (keys, bytes.len());
                };
                (sequence_key(&sequence[..=end]), 3 + end)
            }
            (0x1b, _) => (Some(Key::Escape), 1),
            (b'\r' | b'\n', _) => (Some(Key::Enter), 1),
            (b'q' | b'Q' | 0x03 | 0x04, _) => (Some(Key::Quit), 1),
            (0x1a, _) => (Some(Key::Suspend), 1),
            (b's' | b'S', _) => (Some(Key::Sort), 1),
            (b'r' | b'R', _) => (Some(Key::Again), 1),
            (b'k', _) => (Some(Key::Up), 1),
            (b'j', _) => (Some(Key::Down), 1),
            _ => (None, 1),
        };
        keys.extend(key);
        rest = &rest[length..];
    }
    (keys, bytes.len() - rest.len())
}

fn sequence_key(sequence: &[u8]) -> Option<Key> {
    match sequence {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        b"H" | b"1~" | b"7~" => Some(Key::First),
        b"F" | b"4~" | b"8~" => Some(Key::Last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        use Key::{Again, Down, Enter, Escape, Last, PageDown, Quit, Sort, Up};
        assert_eq!(parse(b"\x1b[A\x1bOBjk\r", true), (vec![Up, Down, Down, Up, Enter], 9));
        assert_eq!(
            parse(b"s\x1b[6~\x1b[Fr\x03xq", true),
            (vec![Sort, PageDown, Last, Again, Quit, Quit], 12)
        );
        assert_eq!(parse(b"\x1b", false), (vec![Escape], 1));
        assert_eq!(parse(b"\x1b\x1b[A", true), (vec![Escape, Up], 4));
    }

    #[test]
    fn a_key_whose_bytes_are_on_their_way_is_waited_for() {
        assert_eq!(parse(b"\x1b", true), (vec![], 0));
        assert_eq!(parse(b"s\x1b[", true), (vec![Key::Sort], 1));
        assert_eq!(parse(b"\x1b[5", true), (vec![], 0));
        assert_eq!(parse(b"\x1b[11111111111111111111", true).0, vec![]);
        assert_eq!(parse(b"\x1b[5", false), (vec![], 3));
    }
}
