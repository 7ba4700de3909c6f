//! Settings: what can be set, how it is written, and the value that the server runs on.
//!
//! - `table`: the one definition of every setting.
//! - `kind`: the kinds of values, their ranges, and the way into and out of [`Settings`].
//! - `value`, `access_log`, `address`, `app_spec`, `compression`, `limit`, `mount`, `otlp`, `static_files`, `statsd`, `texts`, `trusted_proxy`: readings of what was typed.
//! - `load`: the sources, their precedence, and the step from typed values to settings.
//! - `error`: where a value came from, and the line that says what is wrong with it.

mod access_log;
mod address;
mod app_spec;
mod choice;
mod compression;
mod error;
mod kind;
mod limit;
mod load;
mod mount;
mod otlp;
mod static_files;
mod statsd;
mod table;
mod texts;
mod tls;
mod trusted_proxy;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use glob::Pattern;

pub use access_log::{
    AccessLogFormat, AccessLogTarget, Collector, CollectorAddress, LogAtom, LogPiece, LogShape,
};
pub use address::{Address, Bind, Scheme};
pub use app_spec::AppSpec;
pub use choice::{
    ClientAuth, Concurrency, EventLoop, ForwardedFact, ForwardedFields, HopByHop, HttpVersions, Interface,
    Lifespan, LogLevel, Observe, Priority, ReadyBy, RequestBuffering, Scheduling, SendfileHeader, Shedding,
    UnderscoreNames, UntrustedForwarded,
};
pub use compression::Coding;
pub use error::{Origin, SettingsError};
pub use limit::{Limit, Own};
pub use load::from_python;
pub use mount::Mount;
pub use static_files::{Immutable, StaticDirectory};
pub use statsd::StatsdAddress;
pub use texts::{Config, Owner};
pub use tls::{Certificate, Hsts};
pub use trusted_proxy::TrustedProxy;
pub use value::Value;

pub(crate) use kind::Kind;
pub(crate) use load::Typed;
pub(crate) use table::{Reach, SETTINGS, Setting};
pub(crate) use value::{digits, shown_duration, shown_size};

/// Everything that an operator decides, checked. Times are in milliseconds, sizes in bytes; each field is explained in
/// docs/settings.md under the same name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the table documents every setting, and a second text would drift from it")]
pub struct Settings {
    pub app: Option<AppSpec>,
    pub factory: bool,
    pub interface: Interface,
    pub chdir: Option<PathBuf>,
    pub script_name: String,
    pub mounts: Vec<Mount>,
    pub lifespan: Lifespan,
    pub bind: Vec<Bind>,
    pub unix_socket_mode: u32,
    pub unix_socket_owner: Option<Owner>,
    pub reuse_port: bool,
    pub backlog: i32,
    pub connections_max: usize,
    pub concurrency: Concurrency,
    pub event_loop: EventLoop,
    /// `None`: as many as there are processors.
    pub workers: Option<usize>,
    pub no_supervisor: bool,
    pub preload: bool,
    pub rolling_reload: bool,
    pub reload: bool,
    pub reload_dir: Vec<PathBuf>,
    pub reload_include: Vec<Pattern>,
    pub reload_exclude: Vec<Pattern>,
    pub reload_delay_ms: u64,
    pub start_timeout_ms: u64,
    /// `None`: for ever.
    pub stuck_timeout_ms: Option<u64>,
    pub ready_path: Option<String>,
    pub ready_by: ReadyBy,
    pub live_path: Option<String>,
    /// `None`: however many.
    pub max_requests: Option<u64>,
    /// `None`: however long.
    pub max_lifetime_ms: Option<u64>,
    /// `None`: however much.
    pub max_rss: Option<u64>,
    /// Percent.
    pub recycle_jitter: u32,
    pub control_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub umask: Option<u32>,
    pub threads: usize,
    /// `None`: the system's.
    pub thread_stack_size: Option<u64>,
    pub thread_idle_timeout_ms: u64,
    /// `None`: as many as there are threads, or [`Settings::TASKS`].
    pub max_concurrency: Option<u64>,
    pub queue_size: usize,
    pub queue_timeout_ms: u64,
    /// `None`: a request may take as long as it does.
    pub request_timeout_ms: Option<u64>,
    pub slow_request_ms: Option<u64>,
    pub lost_threads_max: u32,
    pub shed: Shedding,
    pub queue_target_ms: u64,
    pub limits: Vec<Limit>,
    pub request_buffering: RequestBuffering,
    pub cancel_on_disconnect: bool,
    pub scheduling: Scheduling,
    /// 0: as Python has it.
    pub gc_threshold: u32,
    pub graceful_timeout_ms: u64,
    pub drain_delay_ms: u64,
    pub lifespan_timeout_ms: u64,
    pub head_timeout_ms: u64,
    pub keep_alive_timeout_ms: u64,
    /// `None`: a body has no deadline.
    pub body_timeout_ms: Option<u64>,
    /// Bytes per second.
    pub body_rate_min: u64,
    pub write_timeout_ms: u64,
    pub head_size_max: usize,
    pub line_size_max: usize,
    pub field_count_max: usize,
    /// `None`: a body has no limit.
    pub body_size_max: Option<u64>,
    pub chunk_extension_size_max: usize,
    pub trailer_size_max: usize,
    pub trailer_count_max: usize,
    pub pipeline_size_max: usize,
    pub body_memory_max: usize,
    pub underscore_names: UnderscoreNames,
    pub hop_by_hop: HopByHop,
    /// `None`: the field is not sent.
    pub server_header: Option<String>,
    /// In order of preference; none: responses are not compressed.
    pub compress: Vec<Coding>,
    /// In lower case; `*` stands for any text.
    pub compress_types: Vec<String>,
    pub compress_size_min: u64,
    pub compress_size_max: u64,
    /// `None`: nobody is told of requests by spans.
    pub otlp_endpoint: Option<String>,
    pub otlp_sample: f64,
    pub otlp_service_name: Option<String>,
    pub statsd_host: Option<StatsdAddress>,
    pub statsd_prefix: String,
    pub statsd_tags: String,
    pub trusted_proxies: Vec<TrustedProxy>,
    pub forwarded: ForwardedFields,
    pub forwarded_facts: Vec<ForwardedFact>,
    pub untrusted_forwarded: UntrustedForwarded,
    pub request_id: bool,
    pub request_id_header: String,
    pub static_files: Vec<StaticDirectory>,
    pub sendfile_header: SendfileHeader,
    pub sendfile_root: Vec<PathBuf>,
    pub certfile: Option<PathBuf>,
    /// `None`: it is in the file of the certificate.
    pub keyfile: Option<PathBuf>,
    pub ocsp_file: Option<PathBuf>,
    pub certificates: Vec<Certificate>,
    pub dev_cert: bool,
    /// TLS 1.2 is not spoken.
    pub only_tls13: bool,
    /// None: all of them.
    pub tls_ciphers: Vec<String>,
    pub client_ca: Option<PathBuf>,
    /// `None`: they must, where there is `client_ca`.
    pub client_auth: Option<ClientAuth>,
    pub client_crl: Option<PathBuf>,
    /// `None`: the field is not sent.
    pub hsts: Option<Hsts>,
    pub http: HttpVersions,
    pub http2_streams_max: usize,
    pub http2_window_size: usize,
    pub websocket_message_size_max: usize,
    /// `None`: as large as a message.
    pub websocket_frame_size_max: Option<usize>,
    pub websocket_queue_size: usize,
    /// `None`: peers are not asked.
    pub websocket_ping_interval_ms: Option<u64>,
    pub websocket_ping_timeout_ms: u64,
    pub websocket_close_timeout_ms: u64,
    pub websocket_compression: bool,
    pub admin: Vec<Bind>,
    pub admin_allowed_hosts: Vec<String>,
    pub observe: Observe,
    /// `None`: requests are not logged.
    pub access_log: Option<AccessLogTarget>,
    pub access_log_format: AccessLogFormat,
    /// `None`: however fast.
    pub access_log_slower_than_ms: Option<u64>,
    /// `None`: any.
    pub access_log_status_min: Option<u16>,
    pub access_log_exclude: Vec<String>,
    pub log_level: LogLevel,
    pub log_config: Option<PathBuf>,
    pub config: Config,
    /// Which of the files' `[env.NAME]` tables is used.
    pub env: Option<String>,
    origins: BTreeMap<&'static str, Origin>,
    sources: Vec<Origin>,
}

/// What requests run on: [`Concurrency`] and the number of threads, once it is known how the applications are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsOn {
    /// The main thread, one request at a time.
    MainThread,
    /// Threads of the system.
    Threads,
    /// gevent's greenlets.
    Greenlets,
    /// Tasks of an asyncio loop.
    Asyncio,
    /// Greenlets around an asyncio loop.
    Bridge,
}

impl Settings {
    /// Greenlets or tasks that run requests at once, unless the operator says how many.
    pub const TASKS: usize = 10_000;

    /// What requests run on where an application is called by ASGI, or where none is.
    pub fn runs_on(&self, asgi: bool) -> RunsOn {
        match self.concurrency {
            Concurrency::Auto | Concurrency::Asyncio if asgi => RunsOn::Asyncio,
            Concurrency::Asyncio => RunsOn::Bridge,
            Concurrency::Greenlets => RunsOn::Greenlets,
            Concurrency::Auto | Concurrency::Threads if self.threads == 1 => RunsOn::MainThread,
            Concurrency::Auto | Concurrency::Threads => RunsOn::Threads,
        }
    }

    /// Most requests that run at once.
    pub fn concurrency_max(&self, runs_on: RunsOn) -> usize {
        let most = self.max_concurrency.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        match runs_on {
            RunsOn::Greenlets | RunsOn::Asyncio | RunsOn::Bridge => most.unwrap_or(Self::TASKS),
            RunsOn::MainThread | RunsOn::Threads => most.unwrap_or(self.threads).min(self.threads),
        }
    }

    /// Workers to start.
    pub fn worker_count(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Whether it is counted what the server does, and shown.
    pub fn observes(&self) -> bool {
        match self.observe {
            Observe::Auto => {
                !self.admin.is_empty() || self.control_socket.is_some() || self.otlp_endpoint.is_some()
            }
            Observe::On => true,
            Observe::Off => false,
        }
    }

    /// Whether there is a certificate to show.
    pub fn has_certificate(&self) -> bool {
        self.certfile.is_some() || !self.certificates.is_empty() || self.dev_cert
    }

    /// What is spoken at an address.
    pub fn scheme(&self, bind: &Bind) -> Scheme {
        let usual = if self.has_certificate() { Scheme::Https } else { Scheme::Http };
        bind.scheme.unwrap_or(usual)
    }

    /// Whether this server's processes wait for their turn when they wake.
    pub fn wakes_in_turn(&self) -> bool {
        let is_handed_on =
            |bind: &Bind| matches!(bind.scheme, Some(Scheme::Uwsgi | Scheme::Scgi | Scheme::FastCgi));
        match self.scheduling {
            Scheduling::Auto => self.bind.iter().any(is_handed_on),
            Scheduling::Normal => false,
            Scheduling::Batch => true,
        }
    }

    /// What the settings of TLS ask of the others.
    fn tls_conflicts(&self) -> Result<(), SettingsError> {
        let speaks_tls = |bind: &&Bind| self.scheme(bind) == Scheme::Https;
        if let Some(bind) = self.bind.iter().find(speaks_tls).filter(|_| !self.has_certificate()) {
            let value = Value::Text(bind.to_string());
            return Err(self.refusal_of(
                "bind",
                Some(value),
                "https needs a certificate: certfile or dev-cert",
            ));
        }
        let is_given = |name: &str| self.origin(name) != Origin::Default;
        let certificates = ["certfile", "certificates", "dev-cert"].into_iter().find(|name| is_given(name));
        if let Some(name) =
            certificates.filter(|_| self.has_certificate() && !self.bind.iter().any(|bind| speaks_tls(&bind)))
        {
            return Err(self.refusal(name, "no address of bind speaks https"));
        }
        let needs = [
            ("keyfile", "certfile", self.certfile.is_some()),
            ("ocsp-file", "certfile", self.certfile.is_some()),
            (
                "client-auth",
                "client-ca",
                self.client_ca.is_some() || self.client_auth == Some(ClientAuth::None),
            ),
            ("client-crl", "client-ca", self.client_ca.is_some()),
            ("tls-ciphers", "a certificate", self.has_certificate()),
            ("client-ca", "a certificate", self.has_certificate()),
        ];
        let lacking = needs.into_iter().find(|(name, _, has)| is_given(name) && !has);
        match lacking {
            Some((name, needed, _)) => Err(self.refusal(name, &format!("only with {needed}"))),
            None if self.dev_cert && (self.certfile.is_some() || !self.certificates.is_empty()) => {
                Err(self.refusal("dev-cert", "not with another certificate"))
            }
            None => Ok(()),
        }
    }

    /// Where the value of the setting of this name (as in `tidegate.toml`) came from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// A path that holds where the server runs, from where it was started.
    pub(crate) fn within_chdir(&self, path: &Path) -> PathBuf {
        self.chdir.as_ref().map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }

    /// What was read, the highest first.
    pub(crate) fn sources(&self) -> &[Origin] {
        &self.sources
    }

    /// The line for a value that is right in itself, but not beside the other settings, or with this application or machine.
    pub fn refusal(&self, name: &str, reason: &str) -> SettingsError {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        self.refusal_of(name, setting.and_then(|setting| setting.kind.show(self)), reason)
    }

    /// The same for one of several values, which is this one.
    pub fn refusal_of(&self, name: &str, value: Option<Value>, reason: &str) -> SettingsError {
        let origin = self.origin(name);
        let spelled =
            SETTINGS.iter().find(|setting| setting.name == name).map(|setting| origin.spell(setting));
        let spelled = spelled.unwrap_or_else(|| name.to_owned());
        let value = value.map_or_else(String::new, |value| format!(" {}", value.excerpt()));
        SettingsError::new(format!("{spelled}{value} ({origin}): {reason}"))
    }

    /// What settings ask of one another.
    pub(crate) fn conflicts(&self) -> Result<(), SettingsError> {
        self.tls_conflicts()?;
        let supervisors = [
            ("workers", self.worker_count() > 1),
            ("preload", self.preload),
            ("reload", self.reload),
            ("pid-file", self.pid_file.is_some()),
            ("user", self.user.is_some()),
            ("group", self.group.is_some()),
            ("umask", self.umask.is_some()),
            ("control-socket", self.control_socket.is_some()),
        ];
        let is_taken = |(bind, admin): &(&Bind, &Bind)| {
            bind.address.takes(&admin.address) || admin.address.takes(&bind.address)
        };
        let mut pairs = self.bind.iter().flat_map(|bind| self.admin.iter().map(move |admin| (bind, admin)));
        if let Some((bind, admin)) = pairs.find(is_taken) {
            let value = Value::Text(admin.to_string());
            let origin = self.origin("bind");
            let reason = format!("bind has it, as {:?} ({origin})", bind.to_string());
            return Err(self.refusal_of("admin", Some(value), &reason));
        }
        if let Some(bind) = self.bind.iter().find(|bind| bind.proxied)
            && self.trusted_proxies.is_empty()
        {
            let value = Some(Value::Text(bind.to_string()));
            return Err(self.refusal_of(
                "bind",
                value,
                "proxy+ only with trusted-proxies, or nobody could connect",
            ));
        }
        self.conflicts_of_files()?;
        match supervisors.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) if self.no_supervisor => Err(self.refusal(name, "not with no-supervisor")),
            _ if !self.admin.is_empty() && self.observe == Observe::Off => {
                Err(self.refusal("observe", "not with admin, which shows what is counted"))
            }
            _ if self.otlp_endpoint.is_some() && self.observe == Observe::Off => {
                Err(self.refusal("observe", "not with otlp-endpoint, which is told what is measured"))
            }
            _ if self.ready_by == ReadyBy::Server && self.ready_path.is_none() => {
                Err(self.refusal("ready-by", "only with ready-path"))
            }
            _ if self.live_path.is_some() && self.live_path == self.ready_path => {
                Err(self.refusal("live-path", "not the same as ready-path"))
            }
            _ if self.reload && self.preload => {
                Err(self.refusal("reload", "not with preload, which imports the application once"))
            }
            _ => Ok(()),
        }
    }

    fn conflicts_of_files(&self) -> Result<(), SettingsError> {
        let mounts = self.mounts.iter();
        let taken = mounts.filter_map(|mount| {
            let taking = self.static_files.iter().find(|files| files.takes_all_below(&mount.prefix))?;
            Some((mount, taking))
        });
        if let Some((mount, taking)) = taken.into_iter().next() {
            let value = Value::Text(taking.to_string());
            let reason = format!("mount {mount} lies below it, and would never be asked without fallthrough");
            return Err(self.refusal_of("static", Some(value), &reason));
        }
        let mut internal = self.static_files.iter().filter(|files| files.internal);
        match (self.sendfile_header, internal.next()) {
            (SendfileHeader::AccelRedirect, None) => Err(self.refusal(
                "sendfile-header",
                "only with a directory of static that is internal for its paths",
            )),
            (SendfileHeader::Off | SendfileHeader::Sendfile, Some(files)) => {
                let value = Value::Text(files.to_string());
                let reason = "internal: only with sendfile-header x-accel-redirect";
                Err(self.refusal_of("static", Some(value), reason))
            }
            (SendfileHeader::Sendfile, _) if self.sendfile_root.is_empty() => {
                Err(self.refusal("sendfile-header", "only with a sendfile-root that its paths are below"))
            }
            (SendfileHeader::Off | SendfileHeader::AccelRedirect, _) if !self.sendfile_root.is_empty() => {
                Err(self.refusal("sendfile-root", "only with sendfile-header x-sendfile"))
            }
            _ => Ok(()),
        }
    }

    /// Every setting that is in force, with its origin.
    pub(crate) fn to_json(&self) -> String {
        let settings = SETTINGS.iter().map(|setting| {
            let value = setting.kind.show(self).map_or(serde_json::Value::Null, serde_json::Value::from);
            let origin = self.origin(setting.name).to_string();
            (setting.name.to_owned(), serde_json::json!({"value": value, "origin": origin}))
        });
        format!("{:#}\n", serde_json::Value::Object(settings.collect()))
    }

    /// Every effective setting with its origin, in the notation of `tidegate.toml`.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut category = None;
        for setting in SETTINGS {
            if category != Some(setting.category) {
                text.push_str(if category.is_some() { "\n# " } else { "# " });
                text.push_str(setting.category.title());
                text.push('\n');
                category = Some(setting.category);
            }
            let origin = self.origin(setting.name);
            let line = match setting.kind.show(self) {
                // Only what a file may hold stands uncommented, so that the whole can be used as one.
                Some(value) if setting.reach == Reach::Start => {
                    format!("# {} = {value}  # {origin}\n", setting.name)
                }
                Some(value) => format!("{} = {value}  # {origin}\n", setting.name),
                None => format!("# {} is not set\n", setting.name),
            };
            text.push_str(&line);
        }
        text
    }

    /// The state before the table's defaults are put in; never seen outside.
    fn blank() -> Self {
        Self {
            app: None,
            factory: false,
            interface: Interface::Auto,
            chdir: None,
            script_name: String::new(),
            mounts: Vec::new(),
            lifespan: Lifespan::Auto,
            bind: Vec::new(),
            unix_socket_mode: 0,
            unix_socket_owner: None,
            reuse_port: false,
            backlog: 0,
            connections_max: 0,
            concurrency: Concurrency::Auto,
            event_loop: EventLoop::Auto,
            workers: None,
            no_supervisor: false,
            preload: false,
            rolling_reload: false,
            reload: false,
            reload_dir: Vec::new(),
            reload_include: Vec::new(),
            reload_exclude: Vec::new(),
            reload_delay_ms: 0,
            start_timeout_ms: 0,
            stuck_timeout_ms: None,
            ready_path: None,
            ready_by: ReadyBy::Application,
            live_path: None,
            max_requests: None,
            max_lifetime_ms: None,
            max_rss: None,
            recycle_jitter: 0,
            control_socket: None,
            pid_file: None,
            user: None,
            group: None,
            umask: None,
            threads: 0,
            thread_stack_size: None,
            thread_idle_timeout_ms: 0,
            max_concurrency: None,
            queue_size: 0,
            queue_timeout_ms: 0,
            request_timeout_ms: None,
            slow_request_ms: None,
            lost_threads_max: 0,
            shed: Shedding::Off,
            queue_target_ms: 0,
            limits: Vec::new(),
            request_buffering: RequestBuffering::Auto,
            cancel_on_disconnect: false,
            scheduling: Scheduling::Auto,
            gc_threshold: 0,
            graceful_timeout_ms: 0,
            drain_delay_ms: 0,
            lifespan_timeout_ms: 0,
            head_timeout_ms: 0,
            keep_alive_timeout_ms: 0,
            body_timeout_ms: None,
            body_rate_min: 0,
            write_timeout_ms: 0,
            head_size_max: 0,
            line_size_max: 0,
            field_count_max: 0,
            body_size_max: None,
            chunk_extension_size_max: 0,
            trailer_size_max: 0,
            trailer_count_max: 0,
            pipeline_size_max: 0,
            body_memory_max: 0,
            underscore_names: UnderscoreNames::Drop,
            hop_by_hop: HopByHop::Drop,
            server_header: None,
            compress: Vec::new(),
            compress_types: Vec::new(),
            compress_size_min: 0,
            compress_size_max: 0,
            otlp_endpoint: None,
            otlp_sample: 0.0,
            otlp_service_name: None,
            statsd_host: None,
            statsd_prefix: String::new(),
            statsd_tags: String::new(),
            trusted_proxies: Vec::new(),
            forwarded: ForwardedFields::Off,
            forwarded_facts: Vec::new(),
            untrusted_forwarded: UntrustedForwarded::Auto,
            request_id: false,
            request_id_header: String::new(),
            static_files: Vec::new(),
            sendfile_header: SendfileHeader::Off,
            sendfile_root: Vec::new(),
            certfile: None,
            keyfile: None,
            ocsp_file: None,
            certificates: Vec::new(),
            dev_cert: false,
            only_tls13: false,
            tls_ciphers: Vec::new(),
            client_ca: None,
            client_auth: None,
            client_crl: None,
            hsts: None,
            http: HttpVersions::Auto,
            http2_streams_max: 0,
            http2_window_size: 0,
            websocket_message_size_max: 0,
            websocket_frame_size_max: None,
            websocket_queue_size: 0,
            websocket_ping_interval_ms: None,
            websocket_ping_timeout_ms: 0,
            websocket_close_timeout_ms: 0,
            websocket_compression: false,
            admin: Vec::new(),
            admin_allowed_hosts: Vec::new(),
            observe: Observe::Auto,
            access_log: None,
            access_log_format: AccessLogFormat::Common,
            access_log_slower_than_ms: None,
            access_log_status_min: None,
            access_log_exclude: Vec::new(),
            log_level: LogLevel::Info,
            log_config: None,
            config: Config::Search,
            env: None,
            origins: BTreeMap::new(),
            sources: Vec::new(),
        }
    }
}
