//! The live page, and what a browser may do with it.

/// One file that needs nothing from elsewhere.
pub(super) const PAGE: &[u8] = include_bytes!("page.html");

/// Its own script and style, known by their digests, and nothing else; no markup that a script makes of text. Whoever changes the page
/// is told the new digests by tests/page.
pub(super) const POLICY: &[u8] = b"default-src 'none'; \
    script-src 'sha256-4xz/MHbjl8RX726DZwjvVaU84DCDsH9SrFewtKATcBA='; \
    style-src 'sha256-R3lkpNoCWYHb7IUeFLYChSIEMFJxuGHw24ylllb51co='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";
