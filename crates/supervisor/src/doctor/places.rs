//! Addresses, directories and files that a server wants.

use std::ffi::OsStr;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FsWord, accessat, statfs, statvfs};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket, socket_with,
};

use super::holder::{self, Holder};
use super::surroundings::is_loopback;
use super::{Finding, Machine, Verdict};
use crate::settings::{AccessLogTarget, Address, Bind, Origin, RequestBuffering, Settings, shown_size};

/// tmpfs (statfs(2)).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Free space below which a directory for temporary files is told of where bodies have no limit.
const SPACE_MIN: u64 = 64 << 20;

/// Addresses of one setting: what the check is called, its flag, and all of them.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    name: &'static str,
    flag: &'static str,
    binds: &'a [Bind],
}

/// Looks at what the process that starts wants.
pub fn places(settings: &Settings, machine: &Machine) -> Vec<Finding> {
    let main = Wanted { name: "address", flag: "--bind", binds: &settings.bind };
    let admin = Wanted { name: "admin-address", flag: "--admin", binds: &settings.admin };
    let is_given_sockets =
        std::env::var_os("LISTEN_FDS").is_some() && settings.origin("bind") == Origin::Default;
    let mut findings: Vec<_> = match is_given_sockets {
        true => vec![Finding::ok("address", "systemd hands the sockets over")],
        false => settings.bind.iter().map(|bind| address(settings, machine, main, bind)).collect(),
    };
    findings.extend(settings.admin.iter().map(|bind| match address(settings, machine, admin, bind) {
        found if found.verdict == Verdict::Ok && matches!(bind.address, Address::Tcp { .. }) && !is_loopback(bind) => {
            Finding::advice(
                admin.name,
                format!("{bind}: other machines can connect, and see the paths of requests and the code they are at"),
                "--admin 127.0.0.1:PORT or unix:PATH; where tools come from elsewhere, see that nobody else can",
            )
        }
        found => found,
    }));
    if let Some(path) = &settings.control_socket {
        findings.push(socket_file("control-socket", machine, path, "--control-socket"));
    }
    if let Some(path) = &settings.pid_file {
        let remedy = "name a directory that the server may write to: RuntimeDirectory= of systemd makes one";
        findings.push(writable("pid-file", path, remedy));
    }
    findings
}

/// Looks at what workers want. To be called as their user.
pub fn places_of_workers(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(AccessLogTarget::File(path)) = &settings.access_log {
        let remedy = "let the server's user append to it, or make the file in a directory of that user's";
        findings.push(writable("access-log", path, remedy));
    }
    if let Some(path) = &settings.log_config {
        let found = accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
        findings.push(match found {
            Ok(()) => Finding::ok("log-config", format!("{} can be read", path.display())),
            Err(error) => Finding::wrong(
                "log-config",
                format!("{} cannot be read: {}", path.display(), reason(error)),
                "name a file that the server's user may read",
            ),
        });
    }
    // Those that the server makes and removes at its end, or makes anew when it is upgraded.
    let binds = settings.bind.iter().chain(&settings.admin);
    let own =
        binds.filter_map(|bind| if let Address::Unix(path) = &bind.address { Some(path) } else { None });
    let own = own.chain(&settings.control_socket).chain(&settings.pid_file).map(|path| directory(path));
    if settings.user.is_some()
        && let Some(directory) = own.into_iter().find(|directory| may_write(directory).is_err())
    {
        findings.push(Finding::advice(
            "directories",
            format!("{} is not the user's that the server goes on as", directory.display()),
            "give it to that user, or files in it cannot be removed at the end, nor made anew by an upgrade",
        ));
    }
    findings.push(temporary(settings));
    findings.push(shared_memory());
    findings
}

fn address(settings: &Settings, machine: &Machine, wanted: Wanted<'_>, bind: &Bind) -> Finding {
    let Wanted { name, flag, binds } = wanted;
    match &bind.address {
        Address::Unix(path) => socket_file(name, machine, path, flag),
        Address::Fd(number) => descriptor(machine, name, *number),
        Address::Tcp { host, port } => match (host.as_str(), *port).to_socket_addrs() {
            Err(error) => Finding::wrong(
                name,
                format!("{bind}: the name cannot be looked up: {error}"),
                "name an address of this machine, or 0.0.0.0 or [::] for all of them",
            ),
            Ok(addresses) => {
                let mut failures =
                    addresses.filter_map(|address| try_bind(binds, settings.reuse_port, address).err());
                match failures.next() {
                    None => Finding::ok(name, format!("{bind} is free")),
                    Some(error) => refused(machine, wanted, bind, *port, error),
                }
            }
        },
    }
}

/// Has the address for a moment, without listening: nobody can connect.
fn try_bind(binds: &[Bind], reuse_port: bool, address: SocketAddr) -> Result<(), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, reuse_port)?;
    if address.is_ipv6() {
        // As the server has it: IPv4 too, unless another of its addresses has that.
        let has_v4 = binds.iter().any(|other| {
            matches!(&other.address, Address::Tcp { host, port } if *port == address.port() && !host.contains(':'))
        });
        set_ipv6_v6only(&socket, has_v4)?;
    }
    bind(&socket, &address)
}

fn refused(machine: &Machine, wanted: Wanted<'_>, bind: &Bind, port: u16, error: Errno) -> Finding {
    let Wanted { name, flag, .. } = wanted;
    match error {
        Errno::ADDRINUSE => taken(name, &bind.to_string(), holder::of_port(machine, port), flag),
        Errno::ACCESS => {
            let first = machine.number("proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024);
            Finding::wrong(
                name,
                format!("{bind}: ports below {first} are for root"),
                "start it as root with --user, give it CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd), or take another port",
            )
        }
        Errno::ADDRNOTAVAIL => Finding::wrong(
            name,
            format!("{bind}: this machine has no such address"),
            "name one that `ip address` lists, or 0.0.0.0 or [::] for all of them",
        ),
        Errno::AFNOSUPPORT => Finding::wrong(
            name,
            format!("{bind}: this machine has no IPv6"),
            "name an IPv4 address, such as 0.0.0.0",
        ),
        error => Finding::wrong(name, format!("{bind}: {}", reason(error)), "name another address"),
    }
}

/// Somebody listens there: perhaps the server that is to be looked at.
fn taken(name: &str, what: &str, holder: Option<Holder>, setting: &str) -> Finding {
    let whose = holder.as_ref().map_or_else(|| "another process".to_owned(), Holder::to_string);
    let found = format!("{what} is in use by {whose}");
    if holder.is_some_and(|holder| holder.is_tidegate) {
        return Finding::advice(
            name,
            found,
            "well, if that is this very server; another one would not start",
        );
    }
    Finding::wrong(name, found, format!("stop that, or name another with {setting}"))
}

fn socket_file(name: &str, machine: &Machine, path: &Path, setting: &str) -> Finding {
    let shown = format!("unix:{}", path.display());
    let directory = directory(path);
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            let remedy = format!("remove it, or name another path with {setting}");
            return Finding::wrong(name, format!("{} exists and is not a socket", path.display()), remedy);
        }
        Ok(_) if is_listened_on(path).unwrap_or(false) => {
            return taken(name, &shown, holder::of_path(machine, path), setting);
        }
        _ => {}
    }
    if let Err(error) = may_write(directory) {
        return Finding::wrong(
            name,
            format!("{shown} cannot be made in {}: {}", directory.display(), reason(error)),
            "make the directory, and let the server's user write to it: RuntimeDirectory= of systemd does both",
        );
    }
    let mode = directory.metadata().map_or(0, |found| found.mode());
    if mode & 0o002 != 0 {
        return Finding::advice(
            name,
            format!("{shown} is in a directory that anybody may write to"),
            "put it into one of the server's own, such as /run/NAME: another user could take the name first",
        );
    }
    Finding::ok(name, format!("{shown} can be made"))
}

/// Without waiting: there may be nobody who accepts any more.
fn is_listened_on(path: &Path) -> Result<bool, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn descriptor(machine: &Machine, name: &str, number: i32) -> Finding {
    let is_socket = |link: &Path| link.as_os_str().as_bytes().starts_with(b"socket:");
    match machine.link(&format!("proc/self/fd/{number}")) {
        Some(link) if is_socket(&link) => Finding::ok(name, format!("fd://{number} is a socket")),
        found => Finding::wrong(
            name,
            match found {
                Some(link) => format!("fd://{number} is no socket but {}", link.display()),
                None => format!("no descriptor {number} is open"),
            },
            "have the process that starts this hand a listening socket over by that number",
        ),
    }
}

fn temporary(settings: &Settings) -> Finding {
    const NAME: &str = "temporary-files";
    let directory = std::env::temp_dir();
    let shown = directory.display();
    if let Err(error) = may_write(&directory) {
        return Finding::wrong(
            NAME,
            format!("{shown} cannot be written to: {}", reason(error)),
            "mount something there, or name another directory in TMPDIR: bodies beyond --body-memory-max are kept in files",
        );
    }
    let gathers = settings.request_buffering != RequestBuffering::Off;
    if gathers && statfs(&directory).is_ok_and(|found| found.f_type == TMPFS_MAGIC) {
        return Finding::advice(
            NAME,
            format!("{shown} is in memory (tmpfs): bodies beyond --body-memory-max count against that"),
            "name a directory on a disk in TMPDIR, or lower --body-size-max",
        );
    }
    let wanted = settings.body_size_max.unwrap_or(SPACE_MIN);
    let space = statvfs(&directory).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize));
    if gathers && space < wanted {
        return Finding::advice(
            NAME,
            format!("{shown} has {} KiB left, less than one body may take", space / 1024),
            format!(
                "make room there, or name another directory in TMPDIR; a body may have {}",
                shown_size(wanted)
            ),
        );
    }
    Finding::ok(NAME, format!("{shown} can be written to"))
}

/// The server itself does without.
fn shared_memory() -> Finding {
    const NAME: &str = "shared-memory";
    match may_write(Path::new("/dev/shm")) {
        Ok(()) => Finding::ok(NAME, "/dev/shm can be written to"),
        Err(error) => Finding::advice(
            NAME,
            format!("/dev/shm cannot be written to: {}", reason(error)),
            "mount a tmpfs there, or leave multiprocessing alone: its locks and shared memory need it",
        ),
    }
}

fn writable(name: &str, path: &Path, remedy: &str) -> Finding {
    let found = match path.metadata() {
        Ok(found) if found.is_dir() => Err(Errno::ISDIR),
        Ok(_) => accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS),
        Err(_) => may_write(directory(path)),
    };
    match found {
        Ok(()) => Finding::ok(name, format!("{} can be written to", path.display())),
        Err(error) => Finding::wrong(
            name,
            format!("{} cannot be written to: {}", path.display(), reason(error)),
            remedy,
        ),
    }
}

/// Whether files can be made in a directory.
fn may_write(directory: &Path) -> Result<(), Errno> {
    if directory.metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(Errno::NOTDIR);
    }
    accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if directory != Path::new(OsStr::new("")) => directory,
        _ => Path::new("."),
    }
}

/// What the system says, without the number.
fn reason(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
