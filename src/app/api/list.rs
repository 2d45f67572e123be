//! Lists in pages, and the queries that ask for them.

use std::borrow::Cow;

use serde::Serialize;

use super::Refusal;
use crate::proto::http::{Request, form_encode};

/// A page of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The call for the page behind it; none on the last one.
    pub(super) next: Option<String>,
}

pub(super) fn query<'a>(request: &Request<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    request.query(name).map_err(|e| Refusal::new(400, format!("The query cannot be decoded: {e}.")))
}

/// How many items a page may have.
pub(super) fn limit(request: &Request<'_>) -> Result<usize, Refusal> {
    let Some(text) = query(request, "limit")? else { return Ok(PAGE) };
    let number = text.parse().ok().filter(|number| (1..=PAGE_MAX).contains(number));
    number.ok_or_else(|| Refusal::new(400, format!("The limit is a number from 1 to {PAGE_MAX}.")))
}

pub(super) fn next_page(name: &str, pairs: &[(&str, &str)]) -> String {
    format!("/api/v1/{name}?{}", form_encode(pairs.iter().copied()))
}

/// Items of a page, unless the caller says how many.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
