//! How much a peer may send before it is refused, with the reason for each number.

/// Bounds on what one connection accepts. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole head: request line, field lines and the blank line. More is answered with 431.
    ///
    /// 64 KiB: single sign-on cookies and tokens reach tens of kilobytes, and a limit below that of the proxy in front turns
    /// into puzzling 502s; yet ten thousand connections that dribble a head cannot hold more than 640 MiB.
    pub head_size_max: usize,
    /// One line of the head without its line end. More is answered with 414 for the request line, with 431 for a field.
    ///
    /// 16 KiB: twice what RFC 9112 section 3 asks servers to take for a request line (8,000 octets).
    pub line_size_max: usize,
    /// Field lines in one head, dropped ones included. More is answered with 431.
    ///
    /// 100: browsers send 10 to 20 and a chain of proxies adds a dozen.
    pub field_count_max: usize,
    /// The decoded request body; `None` is no limit. More is answered with 413: at the head when Content-Length tells,
    /// otherwise as soon as a chunk announces it.
    ///
    /// No limit: how much is too much only the application knows, and the caller's buffers are bounded anyway.
    pub body_size_max: Option<u64>,
    /// Chunk extensions over one body, from after the size to the line end. More is answered with 400.
    ///
    /// 16 KiB: nobody uses extensions, but every one is work without data (CVE-2023-39326).
    pub chunk_extension_size_max: usize,
    /// The trailer section of one chunked body. More is answered with 400.
    ///
    /// 8 KiB: checksums and gRPC statuses are what trailers hold.
    pub trailer_size_max: usize,
    /// Field lines in one trailer section. More is answered with 400.
    ///
    /// 32: five times what is seen in practice.
    pub trailer_count_max: usize,
    /// What becomes of fields with `_` in their names.
    pub underscore_names: UnderscoreNames,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_size_max: 64 * 1024,
            line_size_max: 16 * 1024,
            field_count_max: 100,
            body_size_max: None,
            chunk_extension_size_max: 16 * 1024,
            trailer_size_max: 8 * 1024,
            trailer_count_max: 32,
            underscore_names: UnderscoreNames::Drop,
        }
    }
}

/// What becomes of fields with `_` in their names.
///
/// CGI variables (RFC 3875 section 4.1.18) cannot tell `X_Real_IP` from `X-Real-IP`, so a client could put its word beside
/// or in place of what a proxy in front has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoreNames {
    /// The field is left out, as nginx does.
    #[default]
    Drop,
    /// The request is answered with 400.
    Refuse,
    /// The field is passed on: for peers whose every field is trusted.
    Keep,
}
