//! A directory whose files are served, and files opened below it: never above it, whatever a path or a symbolic link says.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::clock::{self, Millis};

/// How long a directory is taken for the one of its path, after it was: a new one in its place, as a deployment may put it there, is seen
/// by then.
const LOOK_AGAIN_MS: Millis = 1_000;

/// How often an open is tried whose path changes under it.
const TRIES_MAX: usize = 4;

/// Nothing waits for the other end of a FIFO or for a device, and no terminal becomes the process's own.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// For a directory that files are opened below: it need not be readable itself.
#[cfg(target_os = "linux")]
const THROUGH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const THROUGH: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A directory, opened when it is first needed.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    held: Mutex<Option<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    descriptor: Arc<OwnedFd>,
    device: u64,
    inode: u64,
    until_ms: Millis,
    /// The system opens below a directory by itself.
    by_system: bool,
}

/// What a path below a directory leads to.
#[derive(Debug)]
pub(super) enum Found {
    File(OpenFile),
    Directory,
    /// Nothing that is served.
    Nothing,
    /// The system does not say.
    Failed(Errno),
}

/// A regular file. What is known of it is of the file that is open, and of no other that has its name by now.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) size: u64,
    /// Since 1970; never before.
    pub(super) modified_s: u64,
    pub(super) modified_ns: u64,
}

impl Directory {
    /// The directory of an absolute path. It is not looked for yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, held: Mutex::new(None) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is at `path`: names and slashes, none of them at the beginning.
    pub(super) fn open(&self, path: &[u8]) -> Found {
        let opened = self.hold().and_then(|held| {
            if held.by_system { open_beneath(&held.descriptor, path) } else { walk(&held.descriptor, path) }
        });
        match opened.and_then(|descriptor| Ok((rustix::fs::fstat(&descriptor)?, descriptor))) {
            Ok((stat, descriptor)) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Found::File(OpenFile::new(File::from(descriptor), &stat)),
                FileType::Directory => Found::Directory,
                _ => Found::Nothing,
            },
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::AGAIN)) => {
                Found::Failed(error)
            }
            Err(_) => Found::Nothing,
        }
    }

    fn hold(&self) -> Result<Held, Errno> {
        let now_ms = clock::now_ms();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &mut *held {
            if now_ms < held.until_ms {
                return Ok(held.clone());
            }
            held.until_ms = now_ms + LOOK_AGAIN_MS;
            let is_there = |stat: &Stat| (stat.st_dev, stat.st_ino) == (held.device, held.inode);
            if rustix::fs::stat(&self.path).is_ok_and(|stat| is_there(&stat)) {
                return Ok(held.clone());
            }
        }
        // Should there be none by now, what was there is no longer served.
        *held = None;
        let opened = Held::open(&self.path, now_ms)?;
        *held = Some(opened.clone());
        Ok(opened)
    }
}

impl Held {
    fn open(path: &Path, now_ms: Millis) -> Result<Self, Errno> {
        let descriptor = rustix::fs::open(path, THROUGH, Mode::empty())?;
        let stat = rustix::fs::fstat(&descriptor)?;
        Ok(Self {
            by_system: open_beneath(&descriptor, b".").is_ok(),
            descriptor: Arc::new(descriptor),
            device: stat.st_dev,
            inode: stat.st_ino,
            until_ms: now_ms + LOOK_AGAIN_MS,
        })
    }
}

impl OpenFile {
    fn new(file: File, stat: &Stat) -> Self {
        let modified_s = u64::try_from(stat.st_mtime).unwrap_or(0);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Self { file, size, modified_s, modified_ns: stat.st_mtime_nsec }
    }
}

/// The system follows symbolic links as far as they stay below the directory (openat2(2), since Linux 5.6).
#[cfg(target_os = "linux")]
fn open_beneath(directory: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 1..TRIES_MAX {
        match rustix::fs::openat2(directory, path, FLAGS, Mode::empty(), resolve) {
            // A name was moved meanwhile, so that the system cannot tell.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    rustix::fs::openat2(directory, path, FLAGS, Mode::empty(), resolve)
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_directory: &OwnedFd, _path: &[u8]) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// For systems without that: name by name, through no symbolic link.
fn walk(directory: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
    let mut reached: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::NOENT);
        }
        let flags = OFlags::NOFOLLOW | if names.peek().is_some() { THROUGH } else { FLAGS };
        reached =
            Some(rustix::fs::openat(reached.as_ref().unwrap_or(directory), name, flags, Mode::empty())?);
    }
    reached.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// A directory with all sorts in it, beside something that is not in it.
    fn populated() -> (tempfile::TempDir, Directory) {
        let around = tempfile::tempdir().unwrap();
        let inside = around.path().join("public");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::write(around.path().join("secret"), "secret").unwrap();
        fs::write(inside.join("file"), "file").unwrap();
        fs::write(inside.join("sub/deep"), "deep").unwrap();
        symlink("sub/deep", inside.join("to_deep")).unwrap();
        symlink("../secret", inside.join("out")).unwrap();
        symlink(around.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        (around, Directory::new(inside))
    }

    fn text(found: Found) -> String {
        let Found::File(mut open) = found else { panic!("{found:?}") };
        let mut text = String::new();
        open.file.read_to_string(&mut text).unwrap();
        assert_eq!(open.size, text.len() as u64);
        text
    }

    const OUTSIDE: [&[u8]; 9] = [
        b"out",
        b"absolute",
        b"up/secret",
        b"../secret",
        b"sub/../../secret",
        b"/etc/passwd",
        b"loop",
        b"magic/etc/passwd",
        b"missing",
    ];

    #[test]
    fn files_are_opened_below_a_directory_and_nowhere_else() {
        let (_around, directory) = populated();
        assert_eq!(text(directory.open(b"file")), "file");
        assert_eq!(text(directory.open(b"sub/deep")), "deep");
        assert_eq!(text(directory.open(b"to_deep")), "deep");
        assert!(matches!(directory.open(b"sub"), Found::Directory));
        assert!(matches!(directory.open(b"fifo"), Found::Nothing));
        for path in OUTSIDE {
            assert!(matches!(directory.open(path), Found::Nothing), "{}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn a_system_that_cannot_do_so_by_itself_is_led_through_no_link() {
        let (_around, directory) = populated();
        let held = directory.hold().unwrap().descriptor;
        let opens = |path: &[u8]| walk(&held, path).is_ok();
        assert!(opens(b"file") && opens(b"sub/deep") && opens(b"sub/"));
        assert!(!opens(b"to_deep") && !opens(b"") && !opens(b"file/x"));
        // An absolute path is one below the directory here.
        for path in OUTSIDE {
            assert!(!opens(path), "{}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn a_directory_that_takes_the_place_of_another_is_seen() {
        let (around, directory) = populated();
        assert_eq!(text(directory.open(b"file")), "file");
        fs::rename(around.path().join("public"), around.path().join("former")).unwrap();
        fs::create_dir(around.path().join("public")).unwrap();
        fs::write(around.path().join("public/file"), "new").unwrap();
        // As if a second had passed.
        directory.held.lock().unwrap().as_mut().unwrap().until_ms = 0;
        assert_eq!(text(directory.open(b"file")), "new");
    }

    #[test]
    fn a_directory_that_is_taken_away_is_not_served_where_it_has_gone() {
        let (around, directory) = populated();
        assert_eq!(text(directory.open(b"file")), "file");
        fs::rename(around.path().join("public"), around.path().join("former")).unwrap();
        directory.held.lock().unwrap().as_mut().unwrap().until_ms = 0;
        for _ in 0..2 {
            assert!(matches!(directory.open(b"file"), Found::Nothing));
        }
    }

    #[test]
    fn a_directory_that_comes_later_is_found() {
        let around = tempfile::tempdir().unwrap();
        let directory = Directory::new(around.path().join("later"));
        assert!(matches!(directory.open(b"file"), Found::Nothing));
        fs::create_dir(around.path().join("later")).unwrap();
        fs::write(around.path().join("later/file"), "there").unwrap();
        assert_eq!(text(directory.open(b"file")), "there");
    }
}
