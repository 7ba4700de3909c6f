//! Prints docs/settings.md.

fn main() -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), tidegate_supervisor::reference::page().as_bytes())
}
