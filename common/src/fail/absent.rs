//! What a daemon for real nodes has of fail points: nothing.

use std::convert::Infallible;
use std::fmt;

use super::Point;

/// A step that was made to fail; without fail points there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {}

impl fmt::Display for Injected {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Injected {}

/// Reads what is to happen where: nothing.
///
/// # Errors
/// None.
pub const fn arm() -> Result<(), Infallible> {
    Ok(())
}

/// Passes a point whose step can fail.
///
/// # Errors
/// None.
#[inline]
pub const fn check(_: Point) -> Result<(), Injected> {
    Ok(())
}

/// Passes a point.
#[inline]
pub const fn pass(_: Point) {}

/// Passes a point a moment later, once an answer has been sent.
#[inline]
pub const fn soon(_: Point) {}

/// Waits a moment, so that an answer can be sent, and passes a point.
#[inline]
pub async fn late(_: Point) {}
