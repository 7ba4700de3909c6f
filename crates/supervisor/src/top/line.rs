//! Lines of text in a terminal's cells, with tones, and how figures are written.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a part of a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Soft,
    Strong,
    Good,
    Busy,
    Bad,
    Calm,
    Body,
}

impl Tone {
    /// The parameters of its escape sequence (ECMA-48, 8.3.117). Colours are those of the terminal's own palette.
    fn rendition(self, colours: bool) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Soft => "2",
            Self::Strong => "1",
            _ if !colours => "",
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "1;31",
            Self::Calm => "36",
            Self::Body => "35",
        }
    }

    pub(super) fn of_stage(stage: &str) -> Self {
        match stage {
            "body" => Self::Body,
            "queue" => Self::Busy,
            "application" => Self::Calm,
            "write" => Self::Good,
            "expired" => Self::Bad,
            _ => Self::Plain,
        }
    }
}

/// What a terminal can draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glyphs {
    unicode: bool,
}

impl Glyphs {
    #[cfg(test)]
    pub(super) const UNICODE: Self = Self { unicode: true };
    #[cfg(test)]
    pub(super) const ASCII: Self = Self { unicode: false };

    /// By the locale, as setlocale(3) finds it.
    pub(super) fn of_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_uppercase();
        Self { unicode: locale.contains("UTF-8") || locale.contains("UTF8") }
    }

    /// Eight heights, the lowest of which is seen; then the one for nothing.
    fn heights(self) -> [char; 9] {
        if self.unicode {
            ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█', ' ']
        } else {
            ['_', '.', '.', '-', '=', '+', '*', '#', ' ']
        }
    }

    pub(super) fn full(self) -> &'static str {
        if self.unicode { "█" } else { "#" }
    }

    pub(super) fn faint(self) -> &'static str {
        if self.unicode { "▒" } else { "=" }
    }

    pub(super) fn empty(self) -> &'static str {
        if self.unicode { "·" } else { "." }
    }

    pub(super) fn dot(self) -> &'static str {
        if self.unicode { " · " } else { " - " }
    }

    pub(super) fn chosen(self) -> &'static str {
        if self.unicode { "▸" } else { ">" }
    }

    pub(super) fn arrows(self) -> &'static str {
        if self.unicode { "↑↓" } else { "Up/Down" }
    }

    fn cut(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// The last of these, as heights below the highest of them.
    pub(super) fn heights_of(
        self,
        values: impl DoubleEndedIterator<Item = f64> + Clone,
        width: usize,
    ) -> String {
        let heights = self.heights();
        let most = values.clone().rev().take(width).fold(0.0, f64::max);
        let last: Vec<f64> = values.rev().take(width).collect();
        let drawn = last.iter().rev().map(|&value| match value {
            0.0 => heights[8],
            value => heights[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
        });
        drawn.collect()
    }

    /// Of the width, as much as this share.
    pub(super) fn bar(self, share: f64, width: usize) -> (String, String) {
        let full = ((share * width as f64).round() as usize).min(width);
        (self.full().repeat(full), self.empty().repeat(width - full))
    }

    /// A text in no more than so many cells.
    pub(super) fn within(self, text: &str, width: usize) -> String {
        let text: String = if self.unicode { text.into() } else { ascii(text) };
        if text.width() <= width {
            return text;
        }
        match width {
            0 => String::new(),
            _ => start(&text, width - 1).to_owned() + self.cut(),
        }
    }
}

/// As much of a text as so many cells hold.
fn start(text: &str, width: usize) -> &str {
    let mut left = width;
    let over = text.char_indices().find(|(_, sign)| {
        let cells = sign.width().unwrap_or_default();
        let is_over = cells > left;
        left = left.saturating_sub(cells);
        is_over
    });
    over.map_or(text, |(index, _)| &text[..index])
}

fn ascii(text: &str) -> String {
    text.chars()
        .map(|sign| if sign.is_ascii() { sign.to_string() } else { sign.escape_unicode().to_string() })
        .collect()
}

/// A text that may come from anybody, so that it can be shown: what would command the terminal, turn the text around it, or not be
/// seen is written out.
pub(super) fn shown(text: &str) -> String {
    let hides = |sign: char| {
        sign.is_control()
            || matches!(sign, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(sign, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    if !text.contains(hides) {
        return text.to_owned();
    }
    text.chars()
        .map(|sign| if hides(sign) { sign.escape_unicode().to_string() } else { sign.to_string() })
        .collect()
}

/// One line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    parts: Vec<(Tone, String)>,
    pub(super) chosen: bool,
}

impl Line {
    pub(super) fn add(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.parts.push((tone, text.into()));
        self
    }

    /// A column: cut or filled up to its width, and a gap of two.
    pub(super) fn left(self, tone: Tone, text: &str, width: usize, glyphs: Glyphs) -> Self {
        let text = glyphs.within(text, width);
        let gap = " ".repeat(width.saturating_sub(text.width()) + 2);
        self.add(tone, text).add(Tone::Plain, gap)
    }

    /// The same, with what fills it up on the left.
    pub(super) fn right(self, tone: Tone, text: &str, width: usize, glyphs: Glyphs) -> Self {
        let text = glyphs.within(text, width);
        let gap = " ".repeat(width.saturating_sub(text.width()));
        self.add(Tone::Plain, gap).add(tone, text).add(Tone::Plain, "  ")
    }

    pub(super) fn width(&self) -> usize {
        self.parts.iter().map(|(_, text)| text.width()).sum()
    }

    pub(super) fn plain(&self) -> String {
        let text: String = self.parts.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// For a terminal that has so many columns.
    pub(super) fn drawn(&self, columns: usize, colours: bool) -> String {
        let mut drawn = String::new();
        let mut left = columns;
        for (tone, text) in &self.parts {
            let text = start(text, left);
            left -= text.width();
            let rendition = if self.chosen { "7" } else { tone.rendition(colours) };
            drawn.push_str(&format!("\x1b[0;{rendition}m{text}"));
        }
        if self.chosen {
            drawn.push_str(&" ".repeat(left));
        }
        drawn.push_str("\x1b[0m");
        drawn
    }
}

/// A rate, in three digits.
pub(super) fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..9.95 => format!("{value:.1}"),
        ..999.5 => format!("{value:.0}"),
        ..9_995.0 => format!("{:.2}k", value / 1e3),
        ..99_950.0 => format!("{:.1}k", value / 1e3),
        ..999_500.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

/// A duration that is short, in three digits.
pub(super) fn duration(ms: f64) -> String {
    match ms {
        0.0 => "0 ms".to_owned(),
        ..0.995 => format!("{ms:.2} ms"),
        ..9.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        ..9_995.0 => format!("{:.2} s", ms / 1e3),
        ..59_950.0 => format!("{:.1} s", ms / 1e3),
        f64::INFINITY => "long".to_owned(),
        _ => age((ms / 1e3) as u64),
    }
}

/// A duration that may be long.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

pub(super) fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1_024.0 { format!("{mib:.0} MiB") } else { format!("{:.2} GiB", mib / 1_024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_commands_the_terminal() {
        assert_eq!(shown("/a\x1b[2Jb\u{9b}31m\r\n"), "/a\\u{1b}[2Jb\\u{9b}31m\\u{d}\\u{a}");
        assert_eq!(shown("/\u{202e}exe.gpj\u{200b}"), "/\\u{202e}exe.gpj\\u{200b}");
        assert_eq!(shown("/größe/水"), "/größe/水");
    }

    #[test]
    fn texts_are_cut_by_cells_and_not_by_letters() {
        assert_eq!(Glyphs::UNICODE.within("水水水", 6), "水水水");
        assert_eq!(Glyphs::UNICODE.within("水水水", 5), "水水…");
        assert_eq!(Glyphs::UNICODE.within("水水水", 4), "水…");
        assert_eq!(Glyphs::UNICODE.within("abc", 0), "");
        assert_eq!(Glyphs::ASCII.within("aß", 10), "a\\u{df}");
        assert_eq!(Glyphs::ASCII.within("abcdef", 4), "abc~");
    }

    #[test]
    fn a_column_is_as_wide_as_it_says() {
        for text in ["", "a", "水水水水水", "abcdefghijkl"] {
            assert_eq!(Line::default().left(Tone::Plain, text, 8, Glyphs::UNICODE).width(), 10);
            assert_eq!(Line::default().right(Tone::Plain, text, 8, Glyphs::UNICODE).width(), 10, "{text}");
        }
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let rates = [0.0, 0.25, 12.4, 999.4, 999.9, 12_345.0, 123_456.0, 2e6].map(rate);
        assert_eq!(rates, ["0", "0.2", "12", "999", "1.00k", "12.3k", "123k", "2.0M"]);
        let durations = [0.21, 12.0, 1_234.0, 61_000.0, f64::INFINITY].map(duration);
        assert_eq!(durations, ["0.21 ms", "12 ms", "1.23 s", "1 min 1 s", "long"]);
        assert_eq!([5, 3_600, 90_000].map(age), ["5 s", "1 h 0 min", "1 d 1 h"]);
    }

    #[test]
    fn heights_are_of_the_last_values() {
        let values = [9.0, 0.0, 4.0, 8.0];
        assert_eq!(Glyphs::UNICODE.heights_of(values.iter().copied(), 3), " ▄█");
        assert_eq!(Glyphs::UNICODE.heights_of(values.iter().copied(), 5), "█ ▄█");
        assert_eq!(Glyphs::ASCII.heights_of(std::iter::empty(), 2), "");
    }

    #[test]
    fn without_colours_there_are_none() {
        let line = Line { chosen: true, ..Line::default() }.add(Tone::Bad, "x").add(Tone::Strong, "y");
        assert_eq!(line.drawn(3, true), "\x1b[0;7mx\x1b[0;7my \x1b[0m");
        let line = Line { chosen: false, ..line };
        assert_eq!(line.drawn(3, false), "\x1b[0;mx\x1b[0;1my\x1b[0m");
        assert!(line.drawn(3, true).contains("31"));
    }
}
