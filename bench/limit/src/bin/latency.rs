//! One blocking connection, one request at a time: how long a client waits for one answer.
//!
//! `latency PORT SECONDS`: sends `GET /` until the time is over and prints the count, the time it took and the
//! percentiles, in nanoseconds, as one line of JSON. `wrk` counts in microseconds and waits in an event loop of its
//! own; a blocking read is the shortest way there is, so that what differs between servers is the server.
//!
//! A server that closes after each response is measured with a new connection for each request, the time to
//! connect included: that is what its client waits.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Ample for the head and the small body of a latency load's response.
const BUFFER_SIZE: usize = 64 * 1024;

/// No answer for this long is a failure, not a slow answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the server treats the connection after a response, learnt from the first one.
#[derive(Clone, Copy)]
enum Shape {
    /// Stays open; every response is this many bytes.
    KeepAlive(usize),
    /// Closes; the response ends with the connection.
    Close,
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(Ok(port)), Some(Ok(seconds)), None) = (
        arguments.next().map(|text| text.parse::<u16>()),
        arguments.next().map(|text| text.parse::<f64>()),
        arguments.next(),
    ) else {
        eprintln!("usage: latency PORT SECONDS");
        return ExitCode::from(2);
    };
    match Duration::try_from_secs_f64(seconds).map_err(io::Error::other).and_then(|time| run(port, time)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(port: u16, time: Duration) -> io::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes();
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut stream = connect(port)?;
    let shape = learn(&mut stream, &request, &mut buffer)?;

    let mut waits_ns: Vec<u64> = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    let mut now = start;
    while now - start < time {
        match shape {
            Shape::KeepAlive(size) => {
                stream.write_all(&request)?;
                stream.read_exact(&mut buffer[..size])?;
            }
            Shape::Close => {
                stream = connect(port)?;
                stream.write_all(&request)?;
                let mut filled = 0;
                while filled < buffer.len() {
                    match stream.read(&mut buffer[filled..])? {
                        0 => break,
                        size => filled += size,
                    }
                }
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200") && !buffer.starts_with(b"HTTP/1.0 200") {
            return Err(io::Error::other("the response is not a 200 of the size that the first one had"));
        }
        let then = now;
        now = Instant::now();
        waits_ns.push(u64::try_from((now - then).as_nanos()).unwrap_or(u64::MAX));
    }
    report(waits_ns, now - start);
    Ok(())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends the first request and reads from its response how the later ones will end.
fn learn(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<Shape> {
    stream.write_all(request)?;
    let mut filled = 0;
    let head_size = loop {
        if let Some(at) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::Error::other("the response has no whole head")),
            size => filled += size,
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_size]).to_ascii_lowercase();
    let value = |name: &str| {
        head.split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.trim())
    };
    if value("connection") == Some("close") {
        return Ok(Shape::Close);
    }
    match value("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if head_size + length <= buffer.len() => {
            stream.read_exact(&mut buffer[filled..head_size + length])?;
            Ok(Shape::KeepAlive(head_size + length))
        }
        // Without a length the response can only end with the connection (RFC 9112, section 6.3).
        None if !head.contains("transfer-encoding") => Ok(Shape::Close),
        _ => Err(io::Error::other("the response has no length that a latency load can use")),
    }
}

fn report(mut waits_ns: Vec<u64>, elapsed: Duration) {
    waits_ns.sort_unstable();
    let percentile = |percent: usize| {
        waits_ns.get((waits_ns.len().saturating_sub(1)) * percent / 100).copied().unwrap_or_default()
    };
    println!(
        "{{\"requests\": {}, \"seconds\": {:.6}, \"p50_ns\": {}, \"p99_ns\": {}}}",
        waits_ns.len(),
        elapsed.as_secs_f64(),
        percentile(50),
        percentile(99),
    );
}
