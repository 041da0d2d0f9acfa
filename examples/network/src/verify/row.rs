//! A row: a requirement, and how it is shown.

use std::{future::Future, pin::Pin};

use anyhow::Result;

use super::site::Site;

/// One requirement with its given, when and then, and what makes it happen.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) requirement: &'static str,
    pub(crate) given: &'static str,
    pub(crate) when: &'static str,
    pub(crate) then: &'static str,
    /// What it is that was seen, and why that proves the requirement.
    pub(crate) proof: &'static str,
    /// Makes it happen. What was seen, or why the row does not hold.
    pub(crate) run: for<'a> fn(&'a Site) -> Play<'a>,
}

/// A row that happens. It stays on the thread of its site.
pub(crate) type Play<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;
