//! Lists come in pages: `limit` items, and a `cursor` for the rest.

use axum::http::StatusCode;
use serde::Deserialize;

use crate::admin::http::problem::Problem;

/// Items of a page, unless somebody wants fewer or more.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// What a request for a list may ask for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    /// Where to go on, from the page before.
    pub(super) cursor: Option<String>,
    /// A part of the client identifier.
    #[serde(default)]
    pub(super) q: String,
    /// A topic filter.
    pub(super) filter: Option<String>,
}

impl Page {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)
    }

    /// A cursor of two numbers.
    pub(super) fn place(&self) -> Result<(usize, usize), Problem> {
        let Some(cursor) = &self.cursor else { return Ok((0, 0)) };
        let numbers = cursor.split_once('.').and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
        numbers.ok_or_else(wrong_cursor)
    }
}

pub(super) fn wrong_cursor() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "cursor is what the page before gave, or nothing")
}

/// A cursor of two numbers.
pub(super) fn cursor(place: Option<(usize, usize)>) -> Option<String> {
    place.map(|(one, other)| format!("{one}.{other}"))
}
