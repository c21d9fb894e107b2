//! Lists come in pages: `limit` items, and a `cursor` for the rest.

use axum::{
    extract::{FromRequestParts, Query},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::admin::http::problem::Problem;

/// Items of a page, unless somebody wants fewer or more.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// What stands behind the `?`, refused in our words where it is wrong.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        asked.map(|Query(asked)| Self(asked)).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))
    }
}

/// What a request for a list may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
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

    /// A cursor of so many numbers.
    pub(super) fn place<const N: usize>(&self) -> Result<[usize; N], Problem> {
        let Some(cursor) = &self.cursor else { return Ok([0; N]) };
        let numbers: Option<Vec<usize>> = cursor.split('.').map(|number| number.parse().ok()).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(wrong_cursor)
    }
}

pub(super) fn wrong_cursor() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "cursor is what the page before gave, or nothing")
}

/// A cursor of so many numbers.
pub(super) fn cursor<const N: usize>(place: Option<[usize; N]>) -> Option<String> {
    place.map(|numbers| numbers.map(|number| number.to_string()).join("."))
}
