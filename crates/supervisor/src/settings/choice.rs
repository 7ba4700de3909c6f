//! Settings whose value is one word of a few.

/// A value that is chosen by its word.
pub(crate) trait Choice {
    /// All words, in the order of help and error lines.
    fn words(&self) -> &'static [&'static str];
    /// The word of the present value.
    fn word(&self) -> &'static str;
    /// Takes the value of that word; false when there is none.
    fn choose(&mut self, word: &str) -> bool;
}

macro_rules! choices {
    ($($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$meaning])* $variant,)+ }

        impl Choice for $name {
            fn words(&self) -> &'static [&'static str] {
                &[$($word),+]
            }
            fn word(&self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
            fn choose(&mut self, word: &str) -> bool {
                *self = match word {
                    $($word => Self::$variant,)+
                    _ => return false,
                };
                true
            }
        }
    )+};
}

choices! {
    /// How the application is called.
    Interface {
        /// As the application's kind asks for.
        Auto = "auto",
        /// By PEP 3333.
        Wsgi = "wsgi",
        /// By ASGI 3.
        Asgi = "asgi",
    }

    /// What a request runs on.
    Concurrency {
        /// As the interface asks for.
        Auto = "auto",
        /// Threads of the system.
        Threads = "threads",
        /// gevent's greenlets.
        Greenlets = "greenlets",
        /// Tasks of an asyncio loop.
        Asyncio = "asyncio",
    }

    /// By which field applications name files.
    SendfileHeader {
        /// By none.
        Off = "off",
        /// `X-Sendfile`
        Sendfile = "x-sendfile",
        /// `X-Accel-Redirect`
        AccelRedirect = "x-accel-redirect",
    }

    /// Which implementation of asyncio's loop runs.
    EventLoop {
        /// uvloop where it is installed.
        Auto = "auto",
        /// The standard library's.
        Asyncio = "asyncio",
        /// uvloop.
        Uvloop = "uvloop",
    }

    /// Whether an ASGI application is told of the server's start and end.
    Lifespan {
        /// Where it takes part.
        Auto = "auto",
        /// Always: an application that fails there is not served.
        On = "on",
        /// Never.
        Off = "off",
    }

    /// Whether a request's body is in before the application is called.
    RequestBuffering {
        /// As suits what requests run on.
        Auto = "auto",
        /// To its end.
        On = "on",
        /// Only what fits the memory.
        Off = "off",
    }

    /// Whether clients are asked for certificates.
    ClientAuth {
        /// They are not.
        None = "none",
        /// They may have none, but not a bad one.
        Optional = "optional",
        /// They must have one.
        Required = "required",
    }

    /// Which requests go before others.
    Priority {
        /// None.
        Normal = "normal",
        /// Those that ask whether the server is well.
        Health = "health",
    }

    /// Which waiting requests are turned away though there is room for them.
    Shedding {
        /// None.
        Off = "off",
        /// Those of a queue that has been too long for too long.
        Codel = "codel",
    }

    /// What becomes of request fields with `_` in their names.
    UnderscoreNames {
        /// The field is left out.
        Drop = "drop",
        /// The request is answered with 400.
        Refuse = "refuse",
        /// The field is passed on.
        Keep = "keep",
    }

    /// In which fields servers in front say what they know of a request.
    ForwardedFields {
        /// X-Forwarded-For and its like.
        XForwarded = "x-forwarded",
        /// Forwarded (RFC 7239).
        Forwarded = "forwarded",
        /// In none.
        Off = "off",
    }

    /// What they say and is believed.
    ForwardedFact {
        /// Who asks.
        For = "for",
        /// By which scheme.
        Proto = "proto",
        /// Whom the request is for.
        Host = "host",
        /// At which port.
        Port = "port",
        /// What was taken off the path.
        Prefix = "prefix",
    }

    /// What becomes of such fields from others.
    UntrustedForwarded {
        /// They are left out where there are trusted proxies.
        Auto = "auto",
        /// They are left out.
        Drop = "drop",
        /// They are passed on.
        Keep = "keep",
    }

    /// When a process that wakes has the processor.
    Scheduling {
        /// When its turn comes, where front servers wake it with each request.
        Auto = "auto",
        /// As others do: often at once, from the process that has woken it.
        Normal = "normal",
        /// When its turn comes.
        Batch = "batch",
    }

    /// Which versions of HTTP are spoken.
    HttpVersions {
        /// HTTP/1.1, and HTTP/2 over TLS where the client wants it.
        Auto = "auto",
        /// HTTP/1.1 alone.
        One = "1",
        /// HTTP/2 in plain text too, with a client that begins with it.
        H2c = "h2c",
    }

    /// What becomes of hop-by-hop fields in an application's response (PEP 3333, "Other HTTP Features").
    HopByHop {
        /// The field is left out and a warning is logged.
        Drop = "drop",
        /// `start_response` raises.
        Raise = "raise",
    }

    /// Who answers whether a server is ready.
    ReadyBy {
        /// The application.
        Application = "application",
        /// The server.
        Server = "server",
    }

    /// Whether a server counts what it does.
    Observe {
        /// Where somebody can ask for it.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }

    /// The least severe of the server's own messages that is written.
    LogLevel {
        /// What failed: a request, a worker, a reload, the log.
        Error = "error",
        /// What is doubtful.
        Warning = "warning",
        /// What happens to the server.
        Info = "info",
        /// What happens to each connection.
        Debug = "debug",
    }
}
