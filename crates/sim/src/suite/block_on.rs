//! Waiting for futures without a runtime.

use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};

/// Runs `future` to its end on this thread, which sleeps while the future waits: for tests of stores, whose futures need
/// no runtime.
///
/// ```
/// assert_eq!(reconvene_sim::suite::block_on(async { 7 }), 7);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls once; nobody is told when there is more to do.
pub(super) fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Polls once; `calls` counts how often somebody was told that there is more to do.
pub(super) fn poll_counted<F: Future>(future: Pin<&mut F>, calls: &Arc<Calls>) -> Option<F::Output> {
    let waker = Arc::clone(calls).into();
    match future.poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Runs `future` to its end, or to where nobody says for several seconds that it can go on.
pub(super) fn wait<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        let calls = Calls::new();
        if let Some(output) = poll_counted(future.as_mut(), &calls) {
            return Some(output);
        }
        if !calls.came() {
            return None;
        }
    }
}

/// How often a waker was called, and the thread that waits for it.
#[derive(Debug)]
pub(super) struct Calls {
    count: AtomicUsize,
    thread: Thread,
}

impl Calls {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), thread: thread::current() })
    }

    /// Waits until the waker was called, for several seconds at most: a store may work on a thread of its own.
    pub(super) fn came(&self) -> bool {
        for _ in 0..500 {
            if self.count.load(Ordering::SeqCst) > 0 {
                return true;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        self.count.load(Ordering::SeqCst) > 0
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
