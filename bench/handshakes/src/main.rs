//! New TLS connections, one after the other on each of some threads, with one request on each.
//!
//! `handshakes PORT SECONDS AT_ONCE full|resumed [1.2|1.3]`: connects, shakes hands, sends `GET /`, reads the
//! response to its end and closes, until the time is over. Prints, as one line of JSON, how many there were, how many
//! of them were resumed, and the time it took.
//!
//! It trusts every certificate and checks no signature: that is most of what a client of ECDSA spends, and with it the
//! client, not the server, would be what is measured. It offers X25519 alone, so that no server is asked for more than
//! another by knowing more groups.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    SupportedProtocolVersion,
};

/// No answer for this long is a failure, not a slow answer.
const PATIENCE: Duration = Duration::from_secs(10);

const USAGE: &str = "usage: handshakes PORT SECONDS AT_ONCE full|resumed [1.2|1.3]";

/// What the command line asks for.
struct Plan {
    port: u16,
    time: Duration,
    at_once: usize,
    resumes: bool,
    version: &'static SupportedProtocolVersion,
}

/// What one thread has done, or all of them.
#[derive(Default)]
struct Tally {
    handshakes: u64,
    resumed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(plan) = plan(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    match run(&plan) {
        Ok(Tally { handshakes, resumed }) => {
            let seconds = start.elapsed().as_secs_f64();
            println!(r#"{{"handshakes": {handshakes}, "resumed": {resumed}, "seconds": {seconds:.6}}}"#);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("handshakes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[String]) -> Option<Plan> {
    let (required, version) = match arguments {
        [required @ .., version] if required.len() == 4 => (required, version.as_str()),
        required => (required, "1.3"),
    };
    let [port, seconds, at_once, kind] = required else { return None };
    Some(Plan {
        port: port.parse().ok()?,
        time: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
        at_once: at_once.parse().ok()?,
        resumes: match kind.as_str() {
            "full" => false,
            "resumed" => true,
            _ => return None,
        },
        version: match version {
            "1.2" => &TLS12,
            "1.3" => &TLS13,
            _ => return None,
        },
    })
}

fn run(plan: &Plan) -> io::Result<Tally> {
    let until = Instant::now() + plan.time;
    let threads: Vec<_> = (0..plan.at_once)
        .map(|_| {
            // Each remembers sessions of its own, so that none takes the last ticket of another.
            let (config, port) = (Arc::new(config(plan)?), plan.port);
            Ok(thread::spawn(move || connect_until(until, port, &config)))
        })
        .collect::<Result<_, Error>>()
        .map_err(io::Error::other)?;
    let mut all = Tally::default();
    for thread in threads {
        let tally = thread.join().map_err(|_| io::Error::other("a thread has panicked"))??;
        all.handshakes += tally.handshakes;
        all.resumed += tally.resumed;
    }
    Ok(all)
}

fn config(plan: &Plan) -> Result<ClientConfig, Error> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[plan.version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !plan.resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

fn connect_until(until: Instant, port: u16, config: &Arc<ClientConfig>) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut response = Vec::with_capacity(4096);
    while Instant::now() < until {
        response.clear();
        let kind = connect_once(port, config, &mut response)?;
        if !response.starts_with(b"HTTP/1.1 200") {
            let said = String::from_utf8_lossy(&response[..response.len().min(40)]).into_owned();
            return Err(io::Error::other(format!("the response is not a 200: {said:?}")));
        }
        tally.handshakes += 1;
        tally.resumed += u64::from(kind == Some(HandshakeKind::Resumed));
    }
    Ok(tally)
}

fn connect_once(
    port: u16,
    config: &Arc<ClientConfig>,
    response: &mut Vec<u8>,
) -> io::Result<Option<HandshakeKind>> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    match stream.read_to_end(response) {
        // Some servers end without close_notify; the status line says whether there was an answer.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    Ok(tls.handshake_kind())
}

/// Trusts every server, and takes every signature for a good one.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA256,
        ]
    }
}
