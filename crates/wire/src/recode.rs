//! For tests: decodes a message and encodes it again.

use std::ops::RangeInclusive;

use crate::{Message, Reader, Writer};

/// A message and how to recode it.
pub(crate) struct Recode {
    pub(crate) name: &'static str,
    pub(crate) versions: RangeInclusive<i16>,
    pub(crate) run: for<'a> fn(&'a [u8], i16) -> Result<Vec<u8>, String>,
}
