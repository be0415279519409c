//! What counts as a document: UTF-8 JSON (RFC 8259), kept byte for byte as it came. The check itself is
//! the driver's, and an embedded store makes the same one.

use understudy_core::{Json, limits};
pub use understudy_driver::document::check;

use crate::api::problem::{Problem, codes};
use crate::api::request;

/// Checks the size too.
///
/// # Errors
/// A problem.
pub fn checked(bytes: &[u8]) -> Result<Json, Problem> {
    if bytes.len() > limits::VALUE_BYTES_MAX {
        return Err(request::too_large(bytes.len(), limits::VALUE_BYTES_MAX));
    }
    check(bytes).map_err(|detail| Problem::new(&codes::INVALID_JSON, detail))
}
