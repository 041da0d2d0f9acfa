//! Futures that need no runtime.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

/// The output of a future that is ready at its first poll, or `None` if it is not; the future is then dropped.
///
/// Every future of a [`MemoryStore`](crate::MemoryStore) is ready at its first poll, so that drivers in virtual time
/// need no runtime.
///
/// ```
/// assert_eq!(reconvene_store::ready(async { 7 }), Some(7));
/// assert_eq!(reconvene_store::ready(core::future::pending::<()>()), None);
/// ```
pub fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
