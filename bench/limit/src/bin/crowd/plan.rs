//! What is asked for: the command line, and the arrivals that follow from it.

use std::time::Duration;

/// Everything that the command line says.
pub struct Plan {
    pub port: u16,
    pub connections: usize,
    pub pace: Pace,
    pub paths: Vec<Path>,
}

pub enum Pace {
    /// A request follows the answer before it.
    Closed { time: Duration },
    /// Requests arrive on their own.
    Open { phases: Vec<Phase> },
}

/// A time of one rate.
pub struct Phase {
    pub rate: f64,
    pub time: Duration,
}

pub struct Path {
    pub name: String,
    pub weight: f64,
    pub request: Vec<u8>,
}

impl Plan {
    /// Reads the arguments; `None` when they do not make sense.
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [port, kind, connections, time, paths @ ..] = arguments else { return None };
        let port = port.parse().ok()?;
        let connections: usize = connections.parse().ok()?;
        let pace = match kind.as_str() {
            "closed" => Pace::Closed { time: seconds(time)? },
            "open" => Pace::Open { phases: time.split(',').map(phase).collect::<Option<_>>()? },
            _ => return None,
        };
        let paths: Vec<Path> = paths.iter().map(|text| path(text, port)).collect::<Option<_>>()?;
        (connections > 0 && !paths.is_empty()).then_some(Self { port, connections, pace, paths })
    }

    /// Whether the time begins at once, and not with the last connection's first answer.
    pub fn begins_at_once(&self) -> bool {
        matches!(self.pace, Pace::Open { .. }) || self.length().is_zero()
    }

    /// How long requests go on arriving once the time has begun.
    pub fn length(&self) -> Duration {
        match &self.pace {
            Pace::Closed { time } => *time,
            Pace::Open { phases } => phases.iter().map(|phase| phase.time).sum(),
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

fn phase(text: &str) -> Option<Phase> {
    let (rate, time) = text.split_once(':')?;
    let rate: f64 = rate.parse().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(Phase { rate, time: seconds(time)? })
}

fn path(text: &str, port: u16) -> Option<Path> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight: f64 = weight.parse().ok()?;
    // What is neither quoted in JSON nor in a request line needs no care in either.
    let plain = |sign: u8| sign.is_ascii_graphic() && sign != b'"' && sign != b'\\';
    if !name.starts_with('/') || !name.bytes().all(plain) || !weight.is_finite() || weight <= 0.0 {
        return None;
    }
    let request = format!("GET {name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes();
    Some(Path { name: name.to_owned(), weight, request })
}

/// When requests come, and which. The same for every server, because the numbers are not random: they only look so.
pub struct Arrivals {
    numbers: Numbers,
    /// Rate and end of the phases that are to come, the next one last.
    phases: Vec<(f64, Duration)>,
    due: Option<Duration>,
}

impl Arrivals {
    pub fn new(plan: &Plan) -> Self {
        let mut phases = Vec::new();
        let mut end = Duration::ZERO;
        if let Pace::Open { phases: planned } = &plan.pace {
            for phase in planned {
                end += phase.time;
                phases.push((phase.rate, end));
            }
        }
        phases.reverse();
        let due = (!phases.is_empty()).then_some(Duration::ZERO);
        Self { numbers: Numbers(0x7469_6465_6761_7465), phases, due }
    }

    /// When the next request arrives; `None` after the last one, and in a closed loop.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Moves on to the one after it. The gaps are exponential: arrivals know nothing of each other.
    pub fn advance(&mut self) {
        let Some(due) = self.due else { return };
        let mut next = due;
        while let Some((rate, end)) = self.phases.last().copied() {
            next += Duration::from_secs_f64(-(1.0 - self.numbers.fraction()).ln() / rate);
            if next < end {
                self.due = Some(next);
                return;
            }
            // The gap of a rate that is over says nothing about the next one: it begins anew at its start.
            next = end;
            self.phases.pop();
        }
        self.due = None;
    }

    /// Draws one of the paths by its weight.
    pub fn pick_path(&mut self, plan: &Plan) -> usize {
        let sum: f64 = plan.paths.iter().map(|path| path.weight).sum();
        let mut left = self.numbers.fraction() * sum;
        for (index, path) in plan.paths.iter().enumerate() {
            left -= path.weight;
            if left < 0.0 {
                return index;
            }
        }
        plan.paths.len() - 1
    }
}

/// SplitMix64: evenly spread and short, which is all that is asked of it.
struct Numbers(u64);

impl Numbers {
    /// A number from 0 up to, but not, 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 53 bits, as many as the type can tell apart.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
