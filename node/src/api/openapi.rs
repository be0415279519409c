//! The OpenAPI document, kept by hand beside the routes and held true by the tests below.
//!
//! By hand, because the handlers read paths, queries and headers by rules of their own (an id of any
//! bytes, no parameter twice): attributes on them would be prose too, only in a worse place.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`.
pub fn document() -> Response {
    let mut response = Response::new(Body::from(DOCUMENT));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::api::problem::codes;
    use crate::api::route::{ROUTES, Route};

    fn parsed() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn it_has_every_route_with_its_methods_and_no_other() {
        let document = parsed();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
        }
        let mut served = BTreeSet::new();
        // An actor without an id is a mistake with an answer of its own, not an operation.
        for (_, path, methods) in ROUTES.iter().filter(|(route, ..)| *route != Route::NoId) {
            served.extend(methods.iter().map(|method| format!("{method} {path}")));
        }
        assert_eq!(described, served);
    }

    #[test]
    fn it_has_every_code() {
        let document = parsed();
        let described = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
        let described: Vec<&str> = described.iter().map(|word| word.as_str().unwrap()).collect();
        let known: Vec<&str> = codes::ALL.iter().map(|code| code.word).collect();
        assert_eq!(described, known);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_part_is_used() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        found.insert(target.trim_start_matches('#').to_owned());
                    }
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = parsed();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        let mut defined = BTreeSet::new();
        for (kind, parts) in document["components"].as_object().unwrap() {
            defined.extend(
                parts.as_object().unwrap().keys().map(|name| format!("/components/{kind}/{name}")),
            );
        }
        assert_eq!(used, defined);
    }

    #[test]
    fn its_limits_are_those_of_the_store() {
        use understudy_core::limits as core;
        let document = parsed();
        let at = |pointer: &str| {
            document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")).clone()
        };
        let parameter =
            |name: &str, field: &str| at(&format!("/components/parameters/{name}/schema/{field}"));
        assert_eq!(parameter("limit", "maximum"), core::SCAN_RECORDS_MAX);
        assert_eq!(parameter("limit", "default"), crate::limits::PAGE_DEFAULT);
        assert_eq!(parameter("id", "maxLength"), core::ID_BYTES_MAX);
        let timeout = u64::try_from(core::REQUEST_TIMEOUT_MAX.as_millis()).unwrap();
        assert_eq!(parameter("timeout_ms", "maximum"), timeout);
        let ttl = u64::try_from(core::TTL_MAX.as_millis()).unwrap();
        assert_eq!(parameter("TtlMs", "maximum"), ttl);
        let items = |schema: &str, field: &str| {
            at(&format!("/components/schemas/{schema}/properties/{field}/maxItems"))
        };
        assert_eq!(items("BatchRead", "items"), crate::limits::BATCH_READS_MAX);
        assert_eq!(items("BatchWrite", "operations"), core::BATCH_WRITES_MAX);
    }
}
