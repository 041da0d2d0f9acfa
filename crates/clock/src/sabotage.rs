//! Rules broken on purpose, to see whether the simulator finds out.
//!
//! Only a build with `--cfg reconvene_sabotage` can break any, one at a time, by the number that the promises give it. It
//! is no cargo feature, since features unify and could reach a user's build. In every other build [`on`] is the constant
//! `false`.

#[cfg(reconvene_sabotage)]
mod active {
    use core::sync::atomic::{AtomicU8, Ordering};

    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    /// Breaks the rule with this number, and mends every other; 0 mends all.
    pub fn choose(id: u8) {
        ACTIVE.store(id, Ordering::SeqCst);
    }

    /// Whether the rule with this number is broken.
    #[must_use]
    pub fn on(id: u8) -> bool {
        ACTIVE.load(Ordering::Relaxed) == id
    }
}

#[cfg(reconvene_sabotage)]
pub use active::{choose, on};

/// Whether the rule with this number is broken: never in this build.
#[cfg(not(reconvene_sabotage))]
#[must_use]
#[inline]
pub const fn on(_id: u8) -> bool {
    false
}
