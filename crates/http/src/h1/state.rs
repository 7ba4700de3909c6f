//! Everything that can move a connection, in one place.
//!
//! ```text
//! receiving          HeadRead             BodyRead
//!         Head ───────────────▶ Body ───────────────▶ Done
//!         │  │                   │                     │
//!     Eof │  │ Refuse            │ Refuse              │
//!         ▼  ▼                   ▼                     │
//!     Closed Refused          Refused                  │
//!                                                      ├──▶ Next: back to (Head, Idle)
//! sending                                              │
//!          HeadRead        FinalHead         End       │
//!     Idle ────────▶ Head ───────────▶ Body ─────▶ Done
//!      │              │                             ▲
//!      └──────────────┴──────────── Reject ─────────┘
//! ```
//! The two sides are almost free of each other: a response may end before its request does, and the other way round.
//! `HeadRead` moves both, and `Next` needs both to be done; `Upgrade` moves a request that is read to its end and not answered to
//! (Closed, Done): what follows is another protocol's. `Refuse` and `Eof` are ends: no bytes are parsed after them.
//! A move that is not drawn is an error.

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// A head, or nothing yet.
    Head,
    /// The body that belongs to it, even if it is empty.
    Body,
    /// Nothing, until the response is complete.
    Done,
    /// Nothing ever again: the peer broke a rule.
    Refused,
    /// Nothing ever again: the peer has closed its side.
    Closed,
}

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Nothing: there is no request to answer.
    Idle,
    /// A final head is owed.
    Head,
    /// The body, even if it is empty.
    Body,
    /// Nothing more for this request.
    Done,
}

/// What moves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// A request's head is in.
    HeadRead,
    /// The request's body is in to its end.
    BodyRead,
    /// The peer broke a rule.
    Refuse,
    /// The peer closed its side where a head could have begun.
    Eof,
    /// The final head of the response was written.
    FinalHead,
    /// The response was written to its end.
    End,
    /// A complete error response was written instead of the application's.
    Reject,
    /// The exchange is over; the connection goes on.
    Next,
    /// The request was answered with another protocol.
    Upgrade,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
}

impl State {
    /// Before the first request, and between two.
    pub(crate) const START: Self = Self { receiving: Receiving::Head, sending: Sending::Idle };

    /// The state that a move leads to; `None` for a move that is not drawn.
    pub(crate) fn after(self, step: Move) -> Option<Self> {
        use {Receiving as R, Sending as S};
        let Self { receiving, sending } = self;
        let (receiving, sending) = match (step, receiving, sending) {
            (Move::HeadRead, R::Head, S::Idle) => (R::Body, S::Head),
            (Move::BodyRead, R::Body, _) => (R::Done, sending),
            (Move::Refuse, R::Head | R::Body, _) => (R::Refused, sending),
            (Move::Eof, R::Head, S::Idle) => (R::Closed, sending),
            (Move::FinalHead, _, S::Head) => (receiving, S::Body),
            (Move::End, _, S::Body) => (receiving, S::Done),
            (Move::Reject, _, S::Idle | S::Head) => (receiving, S::Done),
            (Move::Next, R::Done, S::Done) => (R::Head, S::Idle),
            (Move::Upgrade, R::Done, S::Head) => (R::Closed, S::Done),
            (
                Move::HeadRead
                | Move::BodyRead
                | Move::Refuse
                | Move::Eof
                | Move::FinalHead
                | Move::End
                | Move::Reject
                | Move::Next
                | Move::Upgrade,
                R::Head | R::Body | R::Done | R::Refused | R::Closed,
                S::Idle | S::Head | S::Body | S::Done,
            ) => return None,
        };
        Some(Self { receiving, sending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Move; 9] = [
        Move::HeadRead,
        Move::BodyRead,
        Move::Refuse,
        Move::Eof,
        Move::FinalHead,
        Move::End,
        Move::Reject,
        Move::Next,
        Move::Upgrade,
    ];

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
    fn nothing_is_parsed_after_a_refusal_or_a_close() {
        for state in reachable() {
            for step in MOVES {
                let Some(after) = state.after(step) else { continue };
                if matches!(state.receiving, Receiving::Refused | Receiving::Closed) {
                    assert_eq!(after.receiving, state.receiving, "{state:?} {step:?}");
                }
            }
        }
    }

    #[test]
    fn the_next_request_begins_only_when_both_sides_are_done() {
        for state in reachable() {
            let done = State { receiving: Receiving::Done, sending: Sending::Done };
            assert_eq!(state.after(Move::Next).is_some(), state == done, "{state:?}");
        }
    }

    #[test]
    fn a_response_is_head_then_body_then_end() {
        let mut state = State::START;
        assert_eq!(state.after(Move::FinalHead), None);
        for step in [Move::HeadRead, Move::FinalHead, Move::End] {
            state = state.after(step).unwrap();
        }
        for step in [Move::FinalHead, Move::End, Move::Reject] {
            assert_eq!(state.after(step), None, "{step:?}");
        }
    }

    #[test]
    fn a_head_is_never_sent_twice() {
        for state in reachable() {
            if matches!(state.sending, Sending::Body | Sending::Done) {
                assert_eq!(state.after(Move::FinalHead), None, "{state:?}");
                assert_eq!(state.after(Move::Reject), None, "{state:?}");
            }
        }
    }
}
