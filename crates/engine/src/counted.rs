//! Numbers of things, in words for operators.

/// `1 worker`, `2 workers`: what is after the number, where that is one and where it is not.
pub fn counted(count: u64, one: &str, others: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { others })
}
