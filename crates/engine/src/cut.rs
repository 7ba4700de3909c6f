//! Why responses are cut.

/// Who or what has cut a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The request has taken longer than it may.
    RequestTimeout,
    /// Its client did not take it in time.
    WriteTimeout,
    /// Its client has left.
    Client,
    /// The application has failed, or has given less than it had announced.
    Application,
    /// The server has ended.
    Stop,
}

impl Cut {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestTimeout => "request_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Client => "client",
            Self::Application => "application",
            Self::Stop => "stop",
        }
    }
}
