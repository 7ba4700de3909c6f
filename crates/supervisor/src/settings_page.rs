//! docs/settings.md, made from the table of settings.

use crate::settings::{Kind, Reach, SETTINGS, Setting};

/// Columns of the page's paragraphs.
const PAGE_WIDTH: usize = 110;

const INTRODUCTION: &str = "\
# Settings

<!-- Written by `cargo run -p tidegate-supervisor --example settings_doc > docs/settings.md`; a test compares. -->

Each setting has one name. `head-timeout` is `--head-timeout` on the command line, `TIDEGATE_HEAD_TIMEOUT` in the
environment, `head-timeout` in `tidegate.toml` and in the `[tool.tidegate]` table of `pyproject.toml`, and `head_timeout`
as a keyword argument of `tidegate.serve()`.

Where they come from, which one wins, environments (`[env.NAME]`), and how to check and show what is in force:
[configuration.md](configuration.md). An unknown name is an error that suggests the near one, and so is a value that does not fit: one line that names
the setting, the value, where it came from and what is accepted, then exit status 2. (Variables that Kubernetes makes for a service
called `tidegate`, such as `TIDEGATE_SERVICE_HOST`, are left alone.)

- Times are in seconds (`10`, `0.5`) or have a unit: `500ms`, `10s`, `2m`, `1h`.
- Sizes are in bytes (`65536`) or have a unit: `64KiB`, `1MiB`, `2GiB`.
- A switch is `true` or `false`; the bare flag means `true`.
";

/// The page, whole.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut category = None;
    for setting in SETTINGS {
        if category != Some(setting.category) {
            page.push_str(&format!("\n## {}\n", setting.category.title()));
            category = Some(setting.category);
        }
        page.push_str(&format!("\n### {}\n{}\n", setting.name, setting.help));
        if !setting.doc.is_empty() {
            page.push_str(&wrap(setting.doc, PAGE_WIDTH));
            page.push('\n');
        }
        page.push_str(&format!("\n- Flag: `{}`\n", flags(setting)));
        for (name, value) in facts(setting) {
            let value = if name == "Accepted" { value } else { format!("`{value}`") };
            page.push_str(&format!("- {name}: {value}\n"));
        }
    }
    page
}

/// What both help and the page say of a setting beside its sentences.
pub(crate) fn facts(setting: &Setting) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Variable", setting.variable())];
    if setting.reach != Reach::Start {
        let example = match (setting.kind, setting.default) {
            (Kind::Switch(_) | Kind::Count { .. }, Some(default)) => default.to_owned(),
            (_, Some(default)) if setting.repeats => format!("[\"{default}\"]"),
            (_, Some(default)) => format!("\"{default}\""),
            (_, None) if let Some(table) = setting.tables => format!("[{table}]"),
            (_, None) if setting.repeats => "[\"...\"]".to_owned(),
            (Kind::Count { range, .. }, None) => range.least().to_string(),
            (_, None) => "\"...\"".to_owned(),
        };
        facts.push(("File", format!("{} = {example}", setting.name)));
    }
    if setting.reach == Reach::Everywhere {
        facts.push(("Python", setting.keyword()));
    }
    facts.push(("Accepted", setting.kind.accepted()));
    if let Some(default) = setting.default.filter(|default| !default.is_empty()) {
        facts.push(("Default", default.to_owned()));
    }
    facts
}

fn flags(setting: &Setting) -> String {
    let placeholder = setting.kind.placeholder();
    match (setting.kind, setting.short) {
        _ if setting.is_positional() => placeholder.to_owned(),
        (Kind::Switch(_), _) => format!("{}[={placeholder}]", setting.flag()),
        (_, Some(short)) => format!("-{short} {placeholder}, {} {placeholder}", setting.flag()),
        (_, None) => format!("{} {placeholder}", setting.flag()),
    }
}

/// Breaks a paragraph at spaces so that lines have at most `width` characters where words allow.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 {
            let fits = column + 1 + length <= width;
            wrapped.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}
