//! Whether the application is ready: one real request, over the server's own way, before anybody else is let in.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Most bytes of the answer that are looked at.
const ANSWER_SIZE_MAX: u64 = 64 * 1024;

/// Asks for `path` at the other end of `stream`.
///
/// # Errors
/// Why the application is not ready, for the operator.
pub(crate) fn ask(stream: UnixStream, path: &str, timeout: Duration) -> Result<(), String> {
    let status = status(stream, path, timeout).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => format!("the application is not ready: {path} was not answered in time"),
        _ => format!("the application is not ready: {path} was not answered: {error}"),
    })?;
    match status {
        200..=399 => Ok(()),
        _ => Err(format!("the application is not ready: {path} was answered with {status}")),
    }
}

fn status(mut stream: UnixStream, path: &str, timeout: Duration) -> io::Result<u16> {
    stream.set_read_timeout(Some(timeout))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tidegate-ready\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(stream.take(ANSWER_SIZE_MAX));
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if status >= 200 {
            return Ok(status);
        }
        // An interim response, which ends with an empty line.
        while line.trim_end() != "" {
            line.clear();
            answer.read_line(&mut line)?;
        }
    }
}
