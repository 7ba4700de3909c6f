//! Prints docs/settings.md.

fn main() -> std::io::Result<()> {
    std::io::Write::write_all(
        &mut std::io::stdout(),
        tidegate_supervisor::settings_page::markdown().as_bytes(),
    )
}
