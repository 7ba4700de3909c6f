//! docs/settings.md is what the table of settings says.

#[test]
fn the_settings_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == tidegate_supervisor::settings_page::markdown(),
        "run: cargo run -p tidegate-supervisor --example settings_doc > docs/settings.md"
    );
}
