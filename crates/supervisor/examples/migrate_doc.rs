//! Writes the tables of options in docs/migrate-*.md anew.

use std::fs;

use tidegate_supervisor::migrate::{Source, rewritten};

fn main() -> std::io::Result<()> {
    for source in Source::ALL {
        let path = format!("docs/migrate-{}.md", source.name());
        fs::write(&path, rewritten(source, &fs::read_to_string(&path)?))?;
    }
    Ok(())
}
