//! Files that the server sends by itself: those of directories that it serves, and those that applications name.
//!
//! `path` and `directory` say which file is meant, `condition` and `range` what of it; `answer` is the response that comes of it.
//! What opens a file waits for the disk; nothing here knows of Python.

mod answer;
mod condition;
mod directory;
mod mount;
mod path;
mod range;
mod sendfile;

pub(crate) use answer::FileAnswer;
pub use directory::Directory;
pub use mount::{Immutable, StaticFiles, StaticMount};
pub(crate) use sendfile::Replaced;
pub use sendfile::SendfileHeader;
