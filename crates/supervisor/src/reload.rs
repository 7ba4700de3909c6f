//! Watches the files of an application that is being worked on, and says when they have changed.
//!
//! It is a descriptor in the supervisor's poll, as what else happens there: the supervisor forks, so nothing of it may be a thread. Directories are watched, not
//! files: editors replace files as often as they write into them. What is excluded is not entered, as watches are scarce and `node_modules` is large.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::io::Errno;

use crate::fleet::{Millis, Saying};
use crate::settings::{Settings, SettingsError, Value};

/// Files that are watched in any case.
const INCLUDED: &str = "*.py";

/// What is not watched in any case: hidden files and directories (`.git`, `.venv`, what editors put beside a file), and what is made and not written.
const EXCLUDED: [&str; 3] = [".*", "__pycache__", "node_modules"];

/// A directory with this file in it is a virtual environment (PEP 405).
const ENVIRONMENT: &str = "pyvenv.cfg";

/// A file is as it is to be when its writer closes it: one that is only half written is not looked at.
const DIRECTORY_EVENTS: WatchMask = WatchMask::CLOSE_WRITE
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVE)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::EXCL_UNLINK);

/// The file behind a symbolic link is written, replaced (which takes a name from it) or removed.
const FILE_EVENTS: WatchMask =
    WatchMask::CLOSE_WRITE.union(WatchMask::ATTRIB).union(WatchMask::DELETE_SELF).union(WatchMask::MOVE_SELF);

/// Bytes of events that are read at a time: some hundreds of them.
const EVENTS_SIZE: usize = 16 * 1024;

/// After so many delays there is a reload though files go on changing.
const DELAYS_MAX: Millis = 10;

/// How often a watched directory is looked for that is gone.
const LOOK_EVERY_MS: Millis = 1_000;

/// Most names in a line.
const NAMES_MAX: usize = 3;

/// Watches files.
#[derive(Debug)]
pub struct Watcher {
    inotify: Inotify,
    roots: Vec<PathBuf>,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    delay_ms: Millis,
    watched: HashMap<WatchDescriptor, Watched>,
    /// What has changed since the last reload, and when the first and the last of it was seen.
    changed: BTreeSet<PathBuf>,
    seen: Option<(Millis, Millis)>,
    /// When roots that are gone are looked for.
    next_look: Option<Millis>,
    troubles: Vec<String>,
}

/// Looks whether there are the directories that are to be watched.
///
/// # Errors
/// One that is not, or cannot be read.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    let unreadable = settings.reload_dir.iter().find_map(|root| Some((root, fs::read_dir(root).err()?)));
    unreadable.map_or(Ok(()), |(root, error)| {
        let root = Value::Text(root.display().to_string());
        Err(settings.refusal_of("reload-dir", Some(root), &error.to_string()))
    })
}

/// What a watch is on.
#[derive(Clone, Debug)]
struct Watched {
    path: PathBuf,
    /// The directory from which on patterns are for it.
    root: PathBuf,
    /// A file that a symbolic link leads to, and not a directory.
    is_file: bool,
}

impl Watcher {
    /// Begins to watch what the settings name.
    ///
    /// # Errors
    /// A limit of the system.
    pub fn start(settings: &Settings) -> Result<Self, SettingsError> {
        let inotify =
            Inotify::init().map_err(|error| settings.refusal("reload", &because(&error, "instances")))?;
        let patterns = |defaults: &[&str], more: &[Pattern]| {
            let defaults = defaults.iter().filter_map(|text| Pattern::new(text).ok());
            defaults.chain(more.iter().cloned()).collect()
        };
        let mut roots = settings.reload_dir.clone();
        if roots.is_empty() {
            roots.push(PathBuf::from("."));
        }
        let mut watcher = Self {
            inotify,
            include: patterns(&[INCLUDED], &settings.reload_include),
            exclude: patterns(&EXCLUDED, &settings.reload_exclude),
            delay_ms: settings.reload_delay_ms,
            roots,
            watched: HashMap::new(),
            changed: BTreeSet::new(),
            seen: None,
            next_look: None,
            troubles: Vec::new(),
        };
        watcher.walk_roots(0).map_err(|(path, error)| {
            let reason = because(&error, "watches");
            settings.refusal("reload", &format!("{} cannot be watched: {reason}", shown(&path)))
        })?;
        watcher.changed.clear();
        watcher.seen = None;
        Ok(watcher)
    }

    /// Readable when something has happened.
    pub(crate) fn stream(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn due(&self) -> Option<Millis> {
        let of_changes =
            self.seen.map(|(first, last)| (last + self.delay_ms).min(first + DELAYS_MAX * self.delay_ms));
        of_changes.into_iter().chain(self.next_look).min()
    }

    /// Looks at what has happened: what there is to say, and whether it is time for a reload.
    pub(crate) fn look(&mut self, now: Millis) -> (Vec<Saying>, bool) {
        if let Err(error) = self.read(now) {
            self.troubles.push(format!("changes of files are not seen: {error}"));
        }
        if self.next_look.is_some_and(|at| now >= at) {
            self.next_look = None;
            self.walk_again(now);
        }
        let say = |is_trouble, text| Saying { is_trouble, text };
        let mut sayings: Vec<_> = self.troubles.drain(..).map(|text| say(true, text)).collect();
        let is_time = self.seen.is_some() && self.due().is_some_and(|due| now >= due);
        if is_time {
            self.seen = None;
            let changed = std::mem::take(&mut self.changed);
            let names: Vec<_> = changed.iter().take(NAMES_MAX).map(|path| shown(path)).collect();
            let more = match changed.len().saturating_sub(NAMES_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            sayings.push(say(false, format!("changed: {}{more}", names.join(", "))));
        }
        (sayings, is_time)
    }

    fn read(&mut self, now: Millis) -> io::Result<()> {
        let mut buffer = [0; EVENTS_SIZE];
        let events: Vec<_> = match self.inotify.read_events(&mut buffer) {
            Ok(events) => events.map(|event| event.to_owned()).collect(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for event in events {
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                // Whatever it was, it was much.
                self.note(Path::new("more files than were counted"), now);
                self.walk_again(now);
            } else if let Some(watched) = self.watched.get(&event.wd).cloned() {
                if event.mask.contains(EventMask::IGNORED) {
                    self.watched.remove(&event.wd);
                }
                match event.name {
                    Some(name) => self.within(&watched, &watched.path.join(name), event.mask, now),
                    None => self.itself(&watched, event.mask, now),
                }
            }
        }
        Ok(())
    }

    /// Something of this name in a watched directory.
    fn within(&mut self, directory: &Watched, path: &Path, mask: EventMask, now: Millis) {
        if self.is_excluded(path, &directory.root) {
            return;
        }
        let is_directory = mask.contains(EventMask::ISDIR);
        if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) {
            // A link is gone, but what it led to may be there by another name.
            if self.forget(path) && !is_directory {
                self.walk_again(now);
            }
        }
        let metadata = fs::symlink_metadata(path);
        let is_link = metadata.as_ref().is_ok_and(fs::Metadata::is_symlink);
        if (is_directory || is_link) && mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) {
            self.walk_or_say(vec![directory.at(path)], now);
        }
        // What is created and has but this name is not written yet.
        let is_unwritten = mask.contains(EventMask::CREATE)
            && !is_link
            && metadata.is_ok_and(|metadata| metadata.nlink() == 1);
        let counts = if is_directory {
            // What is deleted was emptied before, and what comes is walked.
            mask.contains(EventMask::MOVED_FROM)
        } else {
            self.is_included(path, &directory.root) && !is_unwritten
        };
        if counts {
            self.note(path, now);
        }
    }

    /// A watched directory itself, or a file that a link leads to.
    fn itself(&mut self, watched: &Watched, mask: EventMask, now: Millis) {
        if watched.is_file {
            self.note(&watched.path, now);
            if !mask.contains(EventMask::IGNORED) {
                // The link may lead to another file now.
                self.walk_or_say(vec![watched.at(&watched.path)], now);
            }
        } else if watched.path == watched.root && mask.intersects(EventMask::IGNORED | EventMask::MOVE_SELF) {
            self.note(&watched.path, now);
            self.forget(&watched.path);
            self.next_look = Some(now + LOOK_EVERY_MS);
        }
    }

    /// Watches no more what is below a path, and tells whether there was anything.
    fn forget(&mut self, path: &Path) -> bool {
        let before = self.watched.len();
        let mut watches = self.inotify.watches();
        self.watched.retain(|descriptor, watched| {
            let stays = !watched.path.starts_with(path);
            if !stays {
                // It may be gone already.
                let _ = watches.remove(descriptor.clone());
            }
            stays
        });
        self.watched.len() < before
    }

    fn walk_again(&mut self, now: Millis) {
        if let Err((path, error)) = self.walk_roots(now) {
            self.complain(&path, &error);
        }
        let is_watched = |root: &PathBuf| self.watched.values().any(|watched| watched.path == *root);
        if !self.roots.iter().all(is_watched) {
            self.next_look = Some(now + LOOK_EVERY_MS);
        }
    }

    fn walk_or_say(&mut self, places: Vec<Watched>, now: Millis) {
        if let Err((path, error)) = self.walk(places, now) {
            self.complain(&path, &error);
        }
    }

    fn complain(&mut self, path: &Path, error: &io::Error) {
        let reason = because(error, "watches");
        self.troubles.push(format!("{} is not watched, nor is more: {reason}", shown(path)));
    }

    fn walk_roots(&mut self, now: Millis) -> Result<(), (PathBuf, io::Error)> {
        // The last one is taken first.
        let roots = self.roots.iter().rev();
        let places = roots.map(|root| Watched { path: root.clone(), root: root.clone(), is_file: false });
        self.walk(places.collect(), now)
    }

    /// Watches directories and what is below them. What is found in a directory that was not watched before has come since.
    fn walk(&mut self, mut left: Vec<Watched>, now: Millis) -> Result<(), (PathBuf, io::Error)> {
        let mut walked = HashSet::new();
        while let Some(place) = left.pop() {
            let Some((descriptor, is_file)) = self.watch(&place)? else { continue };
            let place = Watched { is_file, ..place };
            // A link may lead back to where it is.
            if !walked.insert(descriptor.clone()) {
                continue;
            }
            let is_new = self.watched.insert(descriptor, place.clone()).is_none();
            if is_file {
                continue;
            }
            let Ok(entries) = fs::read_dir(&place.path) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(kind) = entry.file_type() else { continue };
                if self.is_excluded(&path, &place.root) {
                    continue;
                }
                let is_included = self.is_included(&path, &place.root);
                if kind.is_dir() || kind.is_symlink() {
                    left.push(place.at(&path));
                }
                if is_included && is_new && !kind.is_dir() {
                    self.note(&path, now);
                }
            }
        }
        Ok(())
    }

    /// Watches one directory, or the file that a link leads to, if there is one to be watched; and tells which it is.
    fn watch(&mut self, place: &Watched) -> Result<Option<(WatchDescriptor, bool)>, (PathBuf, io::Error)> {
        let Ok(metadata) = fs::metadata(&place.path) else { return Ok(None) };
        let is_file = !metadata.is_dir();
        let is_wanted = if is_file {
            self.is_included(&place.path, &place.root)
        } else {
            place.path == place.root
                || !(place.path.join(ENVIRONMENT).exists() || leads_out(&place.path, &place.root))
        };
        if !is_wanted {
            return Ok(None);
        }
        let events = if is_file { FILE_EVENTS } else { DIRECTORY_EVENTS };
        match self.inotify.watches().add(&place.path, events) {
            Ok(descriptor) => Ok(Some((descriptor, is_file))),
            // The system's limit; what else there is concerns this one alone, as it is gone or not for us.
            Err(error) if is_limit(&error) => Err((place.path.clone(), error)),
            Err(_) => Ok(None),
        }
    }

    fn note(&mut self, path: &Path, now: Millis) {
        self.changed.insert(path.to_owned());
        self.seen = Some((self.seen.map_or(now, |(first, _)| first), now));
    }

    fn is_included(&self, path: &Path, root: &Path) -> bool {
        self.include.iter().any(|pattern| matches(pattern, path, root))
    }

    fn is_excluded(&self, path: &Path, root: &Path) -> bool {
        self.exclude.iter().any(|pattern| matches(pattern, path, root))
    }
}

impl Watched {
    /// Another path below the same root.
    fn at(&self, path: &Path) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }
}

/// A pattern without a slash is for names, wherever they are; one with a slash is for paths from a watched directory on.
fn matches(pattern: &Pattern, path: &Path, root: &Path) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let subject = if pattern.as_str().contains('/') {
        path.strip_prefix(root).ok()
    } else {
        path.file_name().map(Path::new)
    };
    subject.is_some_and(|subject| pattern.matches_with(&subject.to_string_lossy(), options))
}

/// Whether a directory is a link to one that its root is in: what is beside the root would be watched, or all there is.
fn leads_out(path: &Path, root: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
        && matches!((root.canonicalize(), path.canonicalize()), (Ok(root), Ok(path)) if root.starts_with(&path))
}

/// Of watches, or of descriptors to have them with: inotify_add_watch(2), inotify_init(2).
fn is_limit(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::MFILE))
}

fn because(error: &io::Error, what: &str) -> String {
    match is_limit(error) {
        true => format!("the system's limit is reached (fs.inotify.max_user_{what})"),
        false => error.to_string(),
    }
}

/// As an operator would type it, on one line.
fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path).to_string_lossy();
    path.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}
