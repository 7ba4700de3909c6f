//! The server's own messages: one line each on standard error. They come from threads and moments where Python cannot be entered.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct ToStderr;

impl Log for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What libraries say of their work is not the server's to say.
        let is_own = metadata.target().trim_start_matches('_').starts_with("tidegate");
        metadata.level() <= log::max_level() && (is_own || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            // Formatted first, so that a line is written in one piece. Standard error may be closed; then there is nobody to tell.
            let line = format!("tidegate {level}: {}\n", record.args());
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Has messages up to `level` written from now on.
pub(crate) fn set_level(level: LevelFilter) {
    // A second server in the process finds the logger installed, which is all that is wanted.
    let _ = log::set_logger(&ToStderr);
    log::set_max_level(level);
}
