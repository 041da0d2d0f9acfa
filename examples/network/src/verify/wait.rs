//! Waiting for what must come, and for what must not.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Asks again and again until there is an answer.
///
/// # Errors
/// If there is none in time, or asking fails.
pub(super) async fn until<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if start.elapsed() >= within {
            bail!("{what}: not within {} s", within.as_secs());
        }
        sleep(ASK_EVERY).await;
    }
}

/// How often to look.
const ASK_EVERY: Duration = Duration::from_millis(40);

/// For what comes soon on any machine that is not stuck. Only a failing row waits for so long.
pub(super) const SOON: Duration = Duration::from_secs(30);
