//! From the directories that an operator names to those that the engine serves from.

use std::path::{Path, absolute};
use std::sync::Arc;

use tidegate_engine::{Directory, Immutable, PathPattern, SendfileHeader, StaticFiles, StaticMount};
use tidegate_supervisor::{self as supervisor, Settings, StaticDirectory};

/// What is answered with files.
pub(crate) fn static_files(settings: &Settings) -> StaticFiles {
    StaticFiles::new(settings.static_files.iter().map(mount).collect())
}

/// How applications name files, if they may.
pub(crate) fn sendfile(settings: &Settings) -> Option<SendfileHeader> {
    match settings.sendfile_header {
        supervisor::SendfileHeader::Off => None,
        supervisor::SendfileHeader::Sendfile => {
            let roots = settings.sendfile_root.iter().map(|root| directory(root));
            Some(SendfileHeader::Sendfile(roots.collect()))
        }
        supervisor::SendfileHeader::AccelRedirect => Some(SendfileHeader::AccelRedirect),
    }
}

fn mount(files: &StaticDirectory) -> StaticMount {
    StaticMount {
        prefix: files.prefix.clone(),
        directory: directory(&files.directory),
        index: files.index.clone(),
        max_age_s: files.max_age_s,
        immutable: match &files.immutable {
            supervisor::Immutable::None => Immutable::None,
            supervisor::Immutable::All => Immutable::All,
            supervisor::Immutable::Hashed => Immutable::Hashed,
            supervisor::Immutable::Like(pattern) => Immutable::Like(PathPattern::new(pattern)),
        },
        precompressed: files.precompressed,
        falls_through: files.falls_through,
        internal: files.internal,
    }
}

/// Where it is now: an application may go elsewhere.
fn directory(path: &Path) -> Arc<Directory> {
    // Fails only where there is no working directory, below which there would be nothing either.
    Arc::new(Directory::new(absolute(path).unwrap_or_else(|_| path.to_owned())))
}
