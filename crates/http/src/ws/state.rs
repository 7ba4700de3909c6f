//! Everything that can move a WebSocket, in one place.
//!
//! ```text
//! receiving
//!       Message ┌─┐      Begin                  ┌─┐ Continue
//!               │ ▼ ─────────────────────────▶  ▼ │
//!              Between                        Within
//!               │ │ ◀─────────────────────────  │ │
//!               │ │            End              │ │
//!               │ └──────────────┬──────────────┘ │
//!               └───────────┬────│────────────────┘
//!                 Close     ▼    ▼ Refuse
//!                      Closed    Refused
//! sending
//!     Open ── SendClose ──▶ Closed
//! ```
//! The two sides are free of each other: each may close first, and the other follows when it will (RFC 6455 section 7.1.2).
//! `Closed` and `Refused` are ends: no bytes are parsed after them. A move that is not drawn is an error.

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// No message: the next data frame begins one.
    Between,
    /// A message in fragments: the next data frame continues it.
    Within,
    /// Nothing ever again: the peer has sent Close.
    Closed,
    /// Nothing ever again: the peer broke a rule.
    Refused,
}

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Any frame.
    Open,
    /// Nothing: Close was written (RFC 6455 section 5.5.1).
    Closed,
}

/// What moves a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// A frame that is a whole message.
    Message,
    /// The first fragment of a message.
    Begin,
    /// A fragment between the first and the last.
    Continue,
    /// The last fragment.
    End,
    /// The peer's Close is in.
    Close,
    /// The peer broke a rule.
    Refuse,
    /// Close was written.
    SendClose,
}

/// Where a WebSocket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
}

impl State {
    /// Right after the handshake.
    pub(crate) const START: Self = Self { receiving: Receiving::Between, sending: Sending::Open };

    /// The state that a move leads to; `None` for a move that is not drawn.
    pub(crate) fn after(self, step: Move) -> Option<Self> {
        use {Receiving as R, Sending as S};
        let Self { receiving, sending } = self;
        let (receiving, sending) = match (step, receiving, sending) {
            (Move::Message, R::Between, _) => (R::Between, sending),
            (Move::Begin, R::Between, _) => (R::Within, sending),
            (Move::Continue, R::Within, _) => (R::Within, sending),
            (Move::End, R::Within, _) => (R::Between, sending),
            (Move::Close, R::Between | R::Within, _) => (R::Closed, sending),
            (Move::Refuse, R::Between | R::Within, _) => (R::Refused, sending),
            (Move::SendClose, _, S::Open) => (receiving, S::Closed),
            (
                Move::Message
                | Move::Begin
                | Move::Continue
                | Move::End
                | Move::Close
                | Move::Refuse
                | Move::SendClose,
                R::Between | R::Within | R::Closed | R::Refused,
                S::Open | S::Closed,
            ) => return None,
        };
        Some(Self { receiving, sending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Move; 7] =
        [Move::Message, Move::Begin, Move::Continue, Move::End, Move::Close, Move::Refuse, Move::SendClose];

    fn reachable() -> Vec<State> {
        let mut seen = vec![State::START];
        let mut next = 0;
        while let Some(&state) = seen.get(next) {
            next += 1;
            for step in MOVES {
                if let Some(state) = state.after(step).filter(|state| !seen.contains(state)) {
                    seen.push(state);
                }
            }
        }
        seen
    }

    #[test]
    fn every_state_is_reached() {
        assert_eq!(reachable().len(), 4 * 2);
    }

    #[test]
    fn nothing_is_parsed_after_a_close_or_a_refusal() {
        for state in reachable() {
            for step in MOVES {
                let Some(after) = state.after(step) else { continue };
                if matches!(state.receiving, Receiving::Closed | Receiving::Refused) {
                    assert_eq!(after.receiving, state.receiving, "{state:?} {step:?}");
                }
            }
        }
    }

    #[test]
    fn close_is_written_once_whatever_is_received() {
        for state in reachable() {
            assert_eq!(state.after(Move::SendClose).is_some(), state.sending == Sending::Open, "{state:?}");
        }
    }

    #[test]
    fn messages_do_not_interleave() {
        let within = State::START.after(Move::Begin).unwrap();
        for step in [Move::Message, Move::Begin] {
            assert_eq!(within.after(step), None, "{step:?}");
        }
        for step in [Move::Continue, Move::End] {
            assert_eq!(State::START.after(step), None, "{step:?}");
            assert!(within.after(step).is_some(), "{step:?}");
        }
    }
}
