//! The documentation page of each code, at the path that a problem's `type` names.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;

use super::Problem;
use super::codes::{self, Code, Protocols};

/// Where the pages are.
pub const ROOT: &str = "/docs/problems";

/// Where the page of `code` is.
pub fn path(code: &Code) -> String {
    format!("{ROOT}/{}", code.word)
}

/// The page of one code.
///
/// # Errors
/// A problem when there is no such code.
pub fn one(word: &str) -> Result<Response, Problem> {
    let code = codes::find(word).ok_or_else(|| {
        Problem::new(&codes::UNKNOWN_ROUTE, format!("there is no such code; all are at {ROOT}"))
    })?;
    Ok(html(code.word, &section(code)))
}

/// All of them on one page.
pub fn all() -> Response {
    let mut text = String::new();
    for code in codes::ALL {
        text.push_str(&section(code));
    }
    html("problems", &text)
}

fn section(code: &Code) -> String {
    let certainty = match code.word {
        "unknown" => "unknown: it may have happened, or may yet",
        _ => "refused: it did not happen",
    };
    let where_from = match code.protocols {
        Protocols::Both => "",
        Protocols::Http => " HTTP only.",
        Protocols::Grpc => " gRPC only.",
    };
    format!(
        "<h2 id=\"{word}\"><code>{word}</code>: {title}</h2>\n\
         <p>HTTP {status}, gRPC {grpc}.{where_from} Certainty: {certainty}.</p>\n\
         <p>{meaning}</p>\n<p><b>What to do:</b> {advice}</p>\n",
        word = code.word,
        title = escaped(code.title),
        status = code.http,
        grpc = grpc_name(code),
        meaning = escaped(code.meaning),
        advice = escaped(code.advice),
    )
}

/// As the gRPC specification writes it.
pub fn grpc_name(code: &Code) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", code.grpc).chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = false;
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '`' => {
                open = !open;
                let _ = write!(out, "<{}code>", if open { "" } else { "/" });
            }
            letter => out.push(letter),
        }
    }
    out
}

fn html(title: &str, body: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title} - Understudy</title>\n\
         {body}<p><a href=\"{ROOT}\">all problems</a></p>\n</html>\n"
    );
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}
