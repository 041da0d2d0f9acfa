//! What waits for the thread that writes.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// A queue between callers and one thread. Once it is shut, nothing enters any more.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    open: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), open: true }), filled: Condvar::new() }
    }

    /// Puts `item` at the end, or gives it back if the queue is shut.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(item);
        }
        state.waiting.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Shuts the queue. What is in it stays there.
    pub(crate) fn shut(&self) {
        self.state.lock().open = false;
        self.filled.notify_one();
    }

    /// Waits for something, and takes the first item and those behind it for which `joins` says that they go together
    /// with what was taken before. `None` once the queue is shut and empty.
    pub(crate) fn take(&self, mut joins: impl FnMut(&[T], &T) -> bool) -> Option<Vec<T>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if !state.open {
                return None;
            }
            self.filled.wait(&mut state);
        }
        let mut taken = Vec::new();
        taken.extend(state.waiting.pop_front());
        while let Some(next) = state.waiting.front()
            && joins(&taken, next)
        {
            taken.extend(state.waiting.pop_front());
        }
        Some(taken)
    }

    /// Takes all that is left.
    pub(crate) fn drain(&self) -> VecDeque<T> {
        core::mem::take(&mut self.state.lock().waiting)
    }
}
