//! How long a peer may take over a request's body.

use crate::clock::{Millis, NEVER};
use crate::settings::Settings;

/// The time that a body has. It runs while somebody waits for the peer's bytes: the gathering of the request, or the
/// application; what the application does meanwhile is not the peer's fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyClock {
    /// In microseconds, as a single byte earns less than a millisecond.
    Running {
        deadline_us: u64,
    },
    Stopped {
        left_us: u64,
    },
}

impl BodyClock {
    pub(crate) fn start(&mut self, now_ms: Millis) {
        if let Self::Stopped { left_us } = *self {
            *self = Self::Running { deadline_us: left_us.saturating_add(now_ms * 1000) };
        }
    }

    pub(crate) fn stop(&mut self, now_ms: Millis) {
        if let Self::Running { deadline_us } = *self {
            let left_us =
                if deadline_us == NEVER { NEVER } else { deadline_us.saturating_sub(now_ms * 1000) };
            *self = Self::Stopped { left_us };
        }
    }

    /// Bytes buy time at the minimum rate, but never more than there was at first: a fast beginning pays for no long stall.
    pub(crate) fn earn(&mut self, settings: &Settings, count: usize, now_ms: Millis) {
        let Some(time_ms) = settings.body_timeout_ms else { return };
        let earned_us = (count as u64 * 1_000_000).checked_div(settings.body_rate_min).unwrap_or(0);
        match self {
            Self::Running { deadline_us } => {
                *deadline_us = (*deadline_us + earned_us).min((now_ms + time_ms) * 1000);
            }
            Self::Stopped { left_us } => *left_us = (*left_us + earned_us).min(time_ms * 1000),
        }
    }

    pub(crate) fn deadline_ms(self) -> Millis {
        match self {
            Self::Running { deadline_us: NEVER } | Self::Stopped { .. } => NEVER,
            Self::Running { deadline_us } => deadline_us / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time_at_the_minimum_rate_up_to_what_there_was_at_first() {
        let settings = Settings { body_timeout_ms: Some(1_000), body_rate_min: 100, ..Settings::default() };
        let mut clock = BodyClock::Stopped { left_us: 1_000_000 };
        assert_eq!(clock.deadline_ms(), NEVER, "a stopped clock has no deadline");
        clock.start(0);
        assert_eq!(clock.deadline_ms(), 1_000);
        clock.earn(&settings, 50, 800);
        assert_eq!(clock.deadline_ms(), 1_500, "50 bytes are half a second");
        clock.earn(&settings, 1_000_000, 900);
        assert_eq!(clock.deadline_ms(), 1_900, "no more than a second from now");
        clock.stop(1_400);
        clock.start(60_000);
        assert_eq!(clock.deadline_ms(), 60_500, "what passed while it was stopped does not count");
    }

    #[test]
    fn without_a_rate_bytes_buy_nothing() {
        let settings = Settings { body_timeout_ms: Some(1_000), body_rate_min: 0, ..Settings::default() };
        let mut clock = BodyClock::Stopped { left_us: 1_000_000 };
        clock.start(0);
        clock.earn(&settings, 1_000_000, 500);
        assert_eq!(clock.deadline_ms(), 1_000);
    }
}
