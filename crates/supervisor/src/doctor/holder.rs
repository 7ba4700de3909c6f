//! Who has an address that a server wants.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Machine;

/// A process that listens.
pub(super) struct Holder {
    pid: u32,
    name: String,
    /// It is a server of ours: perhaps the very one.
    pub(super) is_tidegate: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// A socket that listens, in /proc/net/tcp.
const LISTENS: &str = "0A";

/// Who listens on a port, as far as this process may know.
pub(super) fn of_port(machine: &Machine, port: u16) -> Option<Holder> {
    let port = format!(":{port:04X}");
    ["proc/net/tcp", "proc/net/tcp6"].iter().find_map(|table| {
        let table = machine.text(table)?;
        table.lines().find_map(|line| {
            // sl, local address, remote address, state, queues, timer, retransmits, user, timeout, inode (proc_net_tcp.txt).
            let fields: Vec<_> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTENS;
            if listens { of_inode(machine, fields.get(9)?) } else { None }
        })
    })
}

/// Who listens on a unix socket.
pub(super) fn of_path(machine: &Machine, path: &Path) -> Option<Holder> {
    let table = machine.text("proc/net/unix")?;
    table.lines().find_map(|line| {
        // Num, RefCount, Protocol, Flags, Type, St, Inode, Path.
        let mut fields = line.split_whitespace();
        let inode = fields.nth(6)?;
        if Path::new(fields.next()?) == path { of_inode(machine, inode) } else { None }
    })
}

/// The oldest process with this socket, which is the one that its workers were forked from.
fn of_inode(machine: &Machine, inode: &str) -> Option<Holder> {
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let mut pids: Vec<u32> = machine.names("proc").iter().filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    pids.into_iter().find_map(|pid| {
        let directory = format!("proc/{pid}/fd");
        let has = |number: &String| machine.link(&format!("{directory}/{number}")).as_ref() == Some(&link);
        if !machine.names(&directory).iter().any(has) {
            return None;
        }
        let command = machine.text(&format!("proc/{pid}/cmdline"))?;
        // Its program, or Python's with ours as a script or by `-m`.
        let is_ours = |word: &str| Path::new(word).file_name().is_some_and(|name| name == "tidegate");
        Some(Holder {
            pid,
            name: machine.text(&format!("proc/{pid}/comm"))?,
            is_tidegate: command.split('\0').any(is_ours),
        })
    })
}
