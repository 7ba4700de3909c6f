//! What is chosen and shown, and what keys do to it.

use serde_json::Value;

use super::frame::{Room, stack_rows};
use super::line::shown;
use super::state::{Request, State};
use super::terminal::Key;

/// What a key asks of others than the view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Leave,
    /// The stack of the request that is shown.
    Stack,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Age,
    Path,
    Stage,
    Worker,
}

impl Order {
    const ALL: [Self; 4] = [Self::Age, Self::Path, Self::Stage, Self::Worker];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Path => "path",
            Self::Stage => "stage",
            Self::Worker => "worker",
        }
    }

    fn next(self) -> Self {
        let index = Self::ALL.iter().position(|&order| order == self).unwrap_or_default();
        Self::ALL[(index + 1) % Self::ALL.len()]
    }
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) order: Order,
    /// The request that is chosen, and where in the list it was.
    chosen: Option<(u64, u64)>,
    place: usize,
    pub(super) stack: Option<Stack>,
    /// Why what is shown is not new.
    pub(super) trouble: Option<String>,
}

/// The stack of a request, as it is shown.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) worker: u64,
    pub(super) number: u64,
    /// As it was last seen.
    pub(super) request: Request,
    pub(super) is_over: bool,
    pub(super) told: Told,
    /// The first row that is shown, counted from the last page.
    pub(super) back: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// The newest call last.
    Calls(Vec<String>),
    Error(String),
}

impl Stack {
    fn of(request: &Request) -> Self {
        let (worker, number) = request.key();
        let request = request.clone();
        Self { worker, number, request, is_over: false, told: Told::Nothing, back: 0 }
    }

    pub(super) fn take(&mut self, answer: &Result<Value, String>) {
        self.told = match answer {
            // One that was asked about before.
            Ok(answer) if answer["request"].as_u64().is_some_and(|number| number != self.number) => return,
            Ok(answer) => {
                let calls = answer["stack"].as_array().into_iter().flatten();
                Told::Calls(calls.map(|call| shown(call.as_str().unwrap_or_default())).collect())
            }
            Err(error) => Told::Error(error.clone()),
        };
    }
}

impl View {
    /// The requests in the order in which they are shown.
    pub(super) fn ordered<'a>(&self, state: &'a State) -> Vec<&'a Request> {
        let mut requests: Vec<_> = state.requests.iter().collect();
        // The sorts are stable, and what comes is sorted by age.
        match self.order {
            Order::Age => requests.sort_by_key(|request| std::cmp::Reverse(request.age_ms)),
            Order::Path => requests.sort_by(|a, b| a.path.cmp(&b.path)),
            Order::Stage => requests.sort_by(|a, b| a.stage.cmp(&b.stage)),
            Order::Worker => requests.sort_by_key(|request| request.worker),
        }
        requests
    }

    /// The place of the request that is chosen.
    pub(super) fn chosen(&self, ordered: &[&Request]) -> Option<usize> {
        ordered.iter().position(|request| Some(request.key()) == self.chosen)
    }

    /// Takes in a new state: where the request has ended that was chosen, the one in its place is.
    pub(super) fn settle(&mut self, state: &State) {
        if let Some(stack) = &mut self.stack {
            let key = (stack.worker, stack.number);
            match state.requests.iter().find(|request| request.key() == key) {
                Some(request) => stack.request = request.clone(),
                None => stack.is_over = true,
            }
        }
        if self.chosen.is_some() {
            let ordered = self.ordered(state);
            let place = self.chosen(&ordered).unwrap_or(self.place);
            self.choose(&ordered, place);
        }
    }

    fn choose(&mut self, ordered: &[&Request], place: usize) {
        self.place = place.min(ordered.len().saturating_sub(1));
        self.chosen = ordered.get(self.place).map(|request| request.key());
    }

    pub(super) fn press(&mut self, key: Key, state: &State, room: Room) -> Option<Wish> {
        let page = room.rows.unwrap_or(usize::MAX).saturating_sub(8).max(1);
        if key == Key::Quit {
            return Some(Wish::Leave);
        }
        if let Some(stack) = &mut self.stack {
            let most = stack_rows(stack).saturating_sub(page);
            match key {
                Key::Escape | Key::Enter => self.stack = None,
                Key::Again => return Some(Wish::Stack),
                Key::Up => stack.back = (stack.back + 1).min(most),
                Key::Down => stack.back = stack.back.saturating_sub(1),
                Key::PageUp => stack.back = (stack.back + page).min(most),
                Key::PageDown => stack.back = stack.back.saturating_sub(page),
                Key::First => stack.back = most,
                Key::Last => stack.back = 0,
                _ => {}
            }
            return None;
        }
        let ordered = self.ordered(state);
        let place = self.chosen(&ordered);
        match key {
            Key::Down => self.choose(&ordered, place.map_or(0, |place| place + 1)),
            Key::Up => self.choose(&ordered, place.map_or(0, |place| place.saturating_sub(1))),
            Key::PageDown => self.choose(&ordered, place.unwrap_or_default() + page),
            Key::PageUp => self.choose(&ordered, place.unwrap_or_default().saturating_sub(page)),
            Key::First => self.choose(&ordered, 0),
            Key::Last => self.choose(&ordered, usize::MAX),
            Key::Escape => self.chosen = None,
            Key::Sort => {
                self.order = self.order.next();
                self.settle(state);
            }
            Key::Enter => {
                // Nothing chosen: the first is meant, which is the oldest.
                let request = ordered.get(place.unwrap_or_default())?;
                self.choose(&ordered, place.unwrap_or_default());
                self.stack = Some(Stack::of(request));
                return Some(Wish::Stack);
            }
            Key::Again | Key::Suspend | Key::Quit => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOM: Room = Room { columns: 80, rows: Some(24) };

    fn state(requests: &[(u64, &str)]) -> State {
        let all: Vec<_> = requests
            .iter()
            .map(|(number, path)| json!({"worker": 1, "number": number, "path": path, "age_ms": 1_000 - number}))
            .collect();
        State::read(&json!({"requests": all}))
    }

    fn chosen(view: &View, state: &State) -> Option<u64> {
        let ordered = view.ordered(state);
        view.chosen(&ordered).map(|place| ordered[place].number)
    }

    #[test]
    fn what_is_chosen_stays_chosen_wherever_it_goes() {
        let mut view = View::default();
        let first = state(&[(1, "/c"), (2, "/b"), (3, "/a")]);
        for key in [Key::Down, Key::Down] {
            assert_eq!(view.press(key, &first, ROOM), None);
        }
        assert_eq!(chosen(&view, &first), Some(2));
        let later = state(&[(2, "/b"), (3, "/a"), (4, "/0")]);
        view.settle(&later);
        assert_eq!(chosen(&view, &later), Some(2));
        view.press(Key::Sort, &later, ROOM);
        assert_eq!(view.order, Order::Path);
        assert_eq!(chosen(&view, &later), Some(2));
    }

    #[test]
    fn in_place_of_one_that_has_ended_its_neighbour_is_chosen() {
        let mut view = View::default();
        let first = state(&[(1, "/a"), (2, "/b"), (3, "/c")]);
        view.press(Key::Last, &first, ROOM);
        let later = state(&[(1, "/a"), (2, "/b")]);
        view.settle(&later);
        assert_eq!(chosen(&view, &later), Some(2));
        let nothing = state(&[]);
        view.settle(&nothing);
        assert_eq!(chosen(&view, &nothing), None);
        assert_eq!(view.press(Key::Enter, &nothing, ROOM), None);
    }

    #[test]
    fn enter_asks_for_a_stack_and_escape_leaves_it() {
        let mut view = View::default();
        let first = state(&[(1, "/a"), (2, "/b")]);
        assert_eq!(view.press(Key::Enter, &first, ROOM), Some(Wish::Stack));
        let stack = view.stack.as_mut().expect("a stack is shown");
        stack.take(&Ok(json!({"worker": 1, "request": 9, "stack": ["of another"]})));
        assert_eq!(stack.told, Told::Nothing);
        stack.take(&Ok(json!({"worker": 1, "request": 1, "stack": ["a.py:1 in a\x1b"]})));
        assert_eq!(stack.told, Told::Calls(vec!["a.py:1 in a\\u{1b}".to_owned()]));
        view.settle(&state(&[(2, "/b")]));
        assert!(view.stack.as_ref().is_some_and(|stack| stack.is_over && stack.request.path == "/a"));
        assert_eq!(view.press(Key::Escape, &first, ROOM), None);
        assert!(view.stack.is_none());
        assert_eq!(view.press(Key::Quit, &first, ROOM), Some(Wish::Leave));
    }
}
