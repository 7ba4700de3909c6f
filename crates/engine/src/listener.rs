//! Listening sockets: how they are bound, what they are called, and how they give way when descriptors run out.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind, getsockname, listen,
    socket_with, sockopt,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_http::Dialect;

use crate::clock::{Millis, NEVER};
use crate::socket::Peer;
use crate::sys;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// A host name or address, and a port; port 0 lets the system choose.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A path in the file system, and the mode of the socket file.
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A listening socket inherited by number.
    Descriptor(RawFd),
}

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Length of the kernel's queue of connections that are not accepted yet.
    pub backlog: i32,
    /// Whether others may listen on the same port (SO_REUSEPORT).
    pub reuse_port: bool,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in plain text.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP in plain text, and each answer a redirect to https.
    Redirect,
    /// uWSGI's protocol.
    Uwsgi,
    /// SCGI.
    Scgi,
    /// FastCGI.
    FastCgi,
}

/// How peers begin on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speaks {
    /// What they speak.
    pub scheme: Scheme,
    /// Whether a header of the PROXY protocol comes first.
    pub proxied: bool,
}

impl Speaks {
    /// How requests come and responses go, once all that comes before is done.
    pub(crate) fn dialect(self) -> Dialect {
        match self.scheme {
            Scheme::Http | Scheme::Https | Scheme::Redirect => Dialect::Http1,
            Scheme::Uwsgi => Dialect::Uwsgi,
            Scheme::Scgi => Dialect::Scgi,
            Scheme::FastCgi => Dialect::FastCgi,
        }
    }
}

/// A listener as others see it. `Display` gives what a message says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// Where it is.
    pub address: LocalAddress,
    /// What is spoken there.
    pub speaks: Speaks,
}

/// The address a listener really has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddress {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// The path of a unix socket; empty when it has none.
    Unix(PathBuf),
}

impl fmt::Display for BindAddress {
    /// As it is written in a setting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Descriptor(number) => write!(f, "fd://{number}"),
        }
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.speaks.scheme {
            Scheme::Http | Scheme::Redirect => "http://",
            Scheme::Https => "https://",
            Scheme::Uwsgi => "uwsgi://",
            Scheme::Scgi => "scgi://",
            Scheme::FastCgi => "fastcgi://",
        };
        match &self.address {
            LocalAddress::Inet(address) => write!(f, "{scheme}{address}")?,
            // The usual notation, which curl and others take.
            LocalAddress::Unix(path) if self.speaks.scheme == Scheme::Http => {
                write!(f, "unix:{}", path.display())?;
            }
            LocalAddress::Unix(path) => write!(f, "{scheme}unix:{}", path.display())?,
        }
        if self.speaks.scheme == Scheme::Redirect {
            f.write_str(", redirects to https")?;
        }
        let proxied = if self.speaks.proxied { ", with the PROXY protocol" } else { "" };
        f.write_str(proxied)
    }
}

/// A socket file that this process made, removed when it is dropped if it is still the same file.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// What it forks has the listener too, but not the file.
    maker: u32,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have put its own file there since.
        if std::process::id() == self.maker
            && fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    address: Arc<LocalAddress>,
    speaks: Speaks,
    file: Option<SocketFile>,
    /// Connections may be waiting: the last accept did not come back empty.
    pub(crate) ready: bool,
    /// Not before this time, after the system ran out of descriptors or memory.
    pub(crate) retry_ms: Millis,
    pub(crate) backoff_ms: Millis,
}

/// Who has connected, and to what.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) local: Arc<LocalAddress>,
    pub(crate) speaks: Speaks,
}

/// What accept brought.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(OwnedFd, Caller),
    /// Nobody waits.
    Nobody,
    /// The next peer had gone already; go on.
    Again,
    /// No descriptors or memory, or worse; wait.
    Exhausted(io::Error),
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// What the system says: address in use, not available, permission denied, no such host.
    pub fn bind(address: &BindAddress, options: BindOptions, v6_only: bool) -> io::Result<Self> {
        let backlog = options.backlog;
        match address {
            BindAddress::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for candidate in (host.as_str(), *port).to_socket_addrs()? {
                    match Self::bind_inet(candidate, options, v6_only) {
                        Ok(listener) => return Ok(listener),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            BindAddress::Unix { path, mode } => Self::bind_unix(path, *mode, backlog),
            BindAddress::Descriptor(number) => Self::adopt(*number, backlog),
        }
    }

    fn bind_inet(address: SocketAddr, options: BindOptions, v6_only: bool) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = stream_socket(family)?;
        // A restarted server must not wait for the former one's connections in TIME_WAIT.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if options.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, v6_only)?;
        }
        // Accepted sockets inherit it, which saves a call for each: responses are written whole.
        sockopt::set_tcp_nodelay(&fd, true)?;
        bind(&fd, &address)?;
        Self::listen(fd, options.backlog, None)
    }

    fn bind_unix(path: &Path, mode: u32, backlog: i32) -> io::Result<Self> {
        let name = SocketAddrUnix::new(path)?;
        remove_stale(path, &name)?;
        let fd = stream_socket(AddressFamily::UNIX)?;
        bind(&fd, &name)?;
        let found = fs::symlink_metadata(path)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
            maker: std::process::id(),
        };
        // Nobody can connect before listen(), so the mode is in force from the first connection on.
        set_mode(path, mode)?;
        Self::listen(fd, backlog, Some(file))
    }

    fn adopt(number: RawFd, backlog: i32) -> io::Result<Self> {
        let fd = sys::adopt_descriptor(number)?;
        if sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a stream socket"));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        if sockopt::socket_domain(&fd)? != AddressFamily::UNIX {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        Self::listen(fd, backlog, None)
    }

    fn listen(fd: OwnedFd, backlog: i32, file: Option<SocketFile>) -> io::Result<Self> {
        listen(&fd, backlog)?;
        let address = Arc::new(local_address(&fd)?);
        Ok(Self {
            fd,
            address,
            speaks: Speaks::default(),
            file,
            ready: false,
            retry_ms: NEVER,
            backoff_ms: 0,
        })
    }

    /// Gives the socket file, if there is one, another name, in place of whatever has that.
    ///
    /// # Errors
    /// What the system says.
    pub fn rename_file(&mut self, to: PathBuf) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            fs::rename(&file.path, &to)?;
            file.path = to;
        }
        Ok(())
    }

    /// Leaves the socket file, if there is one, to whoever has the socket too.
    pub fn leave_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.maker = 0;
        }
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Another descriptor of the socket, that a program may inherit.
    ///
    /// # Errors
    /// What the system says.
    pub fn for_another_program(&self) -> io::Result<OwnedFd> {
        let copy = self.fd.try_clone()?;
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
        Ok(copy)
    }

    /// The address it has, with the port that the system chose.
    pub fn address(&self) -> &LocalAddress {
        &self.address
    }

    /// It, as others see it.
    pub fn entrance(&self) -> Entrance {
        Entrance { address: (*self.address).clone(), speaks: self.speaks }
    }

    /// Has something else than HTTP in plain text spoken there.
    pub fn speak(&mut self, speaks: Speaks) {
        self.speaks = speaks;
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether peers may reach it under several addresses, so that only the accepted socket knows which.
    fn is_wildcard(&self) -> bool {
        matches!(&*self.address, LocalAddress::Inet(address) if address.ip().is_unspecified())
    }

    pub(crate) fn accept(&self) -> Accepted {
        match acceptfrom_with(&self.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, peer)) => {
                let peer = match peer.and_then(|address| SocketAddr::try_from(address).ok()) {
                    Some(address) => Peer::Inet(canonical(address)),
                    None => Peer::Unix,
                };
                let local = if self.is_wildcard() {
                    local_address(&fd).map_or_else(|_| self.address.clone(), Arc::new)
                } else {
                    self.address.clone()
                };
                Accepted::Connection(fd, Caller { peer, local, speaks: self.speaks })
            }
            Err(Errno::AGAIN) => Accepted::Nobody,
            // accept(2): errors pending on the new socket are given here; they concern that peer alone.
            Err(
                Errno::CONNABORTED
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH,
            ) => Accepted::Again,
            // No descriptors, no memory, or a socket that is no listener any more: none of it passes in an instant.
            Err(error) => Accepted::Exhausted(error.into()),
        }
    }
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn local_address(fd: &OwnedFd) -> io::Result<LocalAddress> {
    let name = getsockname(fd)?;
    if name.address_family() == AddressFamily::UNIX {
        let path = SocketAddrUnix::try_from(name)?.path().map(|path| path.to_string_lossy().into_owned());
        return Ok(LocalAddress::Unix(path.unwrap_or_default().into()));
    }
    Ok(LocalAddress::Inet(canonical(SocketAddr::try_from(name)?)))
}

/// Sets the mode of a socket file, and of nothing else: its directory may be another user's, who may have put a link there.
#[cfg(target_os = "linux")]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, chmod, fstat, openat};

    let file = openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is not the socket any more"));
    }
    Ok(chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(mode))?)
}

#[cfg(not(target_os = "linux"))]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a socket file that nobody listens on any more; one in use, or another kind of file, is an error.
fn remove_stale(path: &Path, name: &SocketAddrUnix) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
    }
    let probe = stream_socket(AddressFamily::UNIX)?;
    match rustix::net::connect(probe.as_fd(), name) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        _ => Err(io::Error::from(Errno::ADDRINUSE)),
    }
}

/// Binds all of `addresses`, or none.
///
/// # Errors
/// The first address that cannot be bound, with the reason.
pub fn bind_all(
    addresses: &[BindAddress],
    options: BindOptions,
) -> Result<Vec<Listener>, (BindAddress, io::Error)> {
    addresses
        .iter()
        .map(|address| {
            Listener::bind(address, options, has_v4_twin(address, addresses))
                .map_err(|error| (address.clone(), error))
        })
        .collect()
}

/// Closes a descriptor that came in by number, once it was adopted.
pub fn close_inherited(number: RawFd) {
    sys::close_descriptor(number);
}

/// Descriptors beside those of connections: for files, libraries and what the application opens.
pub const OTHER_DESCRIPTORS: u64 = 1_024;

/// Lets this process have as many descriptors as its connections may need, as far as the system's hard limit goes. The usual
/// soft limit of 1,024 is older than servers like this.
///
/// # Errors
/// What the system says.
pub fn raise_descriptor_limit(connections_max: usize) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = connections_max as u64 + OTHER_DESCRIPTORS;
    let current = limit.current.map_or(wanted, |soft| soft.max(wanted.min(limit.maximum.unwrap_or(wanted))));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })?)
}

/// `[::]:8000` also takes IPv4 unless an IPv4 address with the same port is listed beside it, which would clash.
fn has_v4_twin(address: &BindAddress, all: &[BindAddress]) -> bool {
    let BindAddress::Tcp { host, port } = address else { return false };
    host.parse::<Ipv6Addr>().is_ok()
        && all.iter().any(|other| {
            matches!(other, BindAddress::Tcp { host, port: other_port } if port == other_port && host.parse::<Ipv6Addr>().is_err())
        })
}
