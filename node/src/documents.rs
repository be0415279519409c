//! Documents to load: the lines of a file, or made up from a seed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use hyper::body::Bytes;
use understudy_core::{Rng, Seed, limits as core_limits};

use crate::limits;

/// One document and the id it goes under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its line in the file, or its number, from 1.
    pub line: u64,
    /// Its id.
    pub id: String,
    /// The JSON, as it stands in the file.
    pub text: Bytes,
}

/// A line that is not a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Where documents come from; can be read again from the start.
#[derive(Clone, Debug)]
pub enum Source {
    /// One JSON object a line.
    File {
        /// The file.
        path: PathBuf,
        /// The field with the id: a string or a whole number.
        id_field: String,
    },
    /// Made up.
    Generated {
        /// How many.
        count: u64,
        /// The same seed gives the same documents.
        seed: u64,
    },
}

/// Every document of a source, in order.
pub type Documents = Box<dyn Iterator<Item = Result<Document, BadLine>> + Send>;

impl Source {
    /// Reads from the start.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(&self) -> anyhow::Result<Documents> {
        match self {
            Source::File { path, id_field } => {
                let file = File::open(path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                let reader = BufReader::new(file);
                Ok(Box::new(Lines { reader, line: 0, id_field: id_field.clone() }))
            }
            Source::Generated { count, seed } => {
                let seed = Seed(*seed);
                Ok(Box::new((1..=*count).map(move |number| Ok(generate(seed, number)))))
            }
        }
    }

    /// How many documents there are at most, for a progress bar.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count(&self) -> anyhow::Result<u64> {
        match self {
            Source::Generated { count, .. } => Ok(*count),
            Source::File { path, .. } => {
                count_lines(path).with_context(|| format!("cannot read `{}`", path.display()))
            }
        }
    }
}

fn count_lines(path: &Path) -> std::io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut count = 0;
    let mut open_line = false;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(count + u64::from(open_line));
        }
        count += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        open_line = bytes.last() != Some(&b'\n');
        let len = bytes.len();
        reader.consume(len);
    }
}

struct Lines {
    reader: BufReader<File>,
    line: u64,
    id_field: String,
}

impl Iterator for Lines {
    type Item = Result<Document, BadLine>;

    fn next(&mut self) -> Option<Result<Document, BadLine>> {
        loop {
            self.line += 1;
            let mut text = Vec::new();
            let max = limits::LINE_BYTES_MAX as u64;
            let read = self.reader.by_ref().take(max).read_until(b'\n', &mut text);
            let bad = |reason: String| Some(Err(BadLine { line: self.line, reason }));
            match read {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    // The rest of the file cannot be trusted to begin at a line.
                    let problem = bad(format!("cannot be read: {error}"));
                    self.reader = BufReader::new(File::open("/dev/null").ok()?);
                    return problem;
                }
            }
            if text.len() == limits::LINE_BYTES_MAX && text.last() != Some(&b'\n') {
                let limit = core_limits::VALUE_BYTES_MAX;
                let problem = bad(format!("longer than a document may be ({limit} bytes)"));
                skip_line(&mut self.reader);
                return problem;
            }
            while matches!(text.last(), Some(b'\n' | b'\r')) {
                text.pop();
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Some(match id_of(&text, &self.id_field) {
                Ok(id) => Ok(Document { line: self.line, id, text: text.into() }),
                Err(reason) => Err(BadLine { line: self.line, reason }),
            });
        }
    }
}

fn skip_line(reader: &mut impl BufRead) {
    while let Ok(bytes) = reader.fill_buf() {
        if bytes.is_empty() {
            return;
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return;
        }
    }
}

fn id_of(text: &[u8], field: &str) -> Result<String, String> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
    let Some(object) = value.as_object() else {
        return Err(format!("not an object, so it has no field `{field}`"));
    };
    match object.get(field) {
        Some(serde_json::Value::String(id)) => Ok(id.clone()),
        Some(serde_json::Value::Number(id)) if id.is_u64() || id.is_i64() => Ok(id.to_string()),
        Some(_) => Err(format!("its `{field}` is neither a string nor a whole number")),
        None => Err(format!("it has no field `{field}`; name the id with `--id-field`")),
    }
}

/// An order as a shop would keep it: nested, some text beyond ASCII, a few hundred bytes.
fn generate(seed: Seed, number: u64) -> Document {
    let mut rng = seed.child(&format!("document/{number}")).rng();
    let id = format!("order-{number:08}");
    let items: Vec<serde_json::Value> = (0..rng.between(1, 5))
        .map(|_| {
            serde_json::json!({
                "sku": format!("{}-{:05}", pick(&mut rng, &["BK", "TY", "GR", "EL"]), rng.below(100_000)),
                "title": pick(&mut rng, TITLES),
                "quantity": rng.between(1, 9),
                "cents": rng.between(99, 25_000),
            })
        })
        .collect();
    let document = serde_json::json!({
        "id": id,
        "customer": {
            "name": format!("{} {}", pick(&mut rng, FIRST_NAMES), pick(&mut rng, LAST_NAMES)),
            "city": pick(&mut rng, CITIES),
            "loyal": rng.below(3) == 0,
        },
        "placed_at": format!(
            "2026-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            rng.between(1, 12), rng.between(1, 28), rng.below(24), rng.below(60), rng.below(60)
        ),
        "status": pick(&mut rng, &["placed", "paid", "packed", "shipped", "returned"]),
        "items": items,
        "note": if rng.below(4) == 0 { Some(pick(&mut rng, NOTES)) } else { None },
    });
    Document { line: number, id, text: document.to_string().into() }
}

fn pick(rng: &mut Rng, words: &[&'static str]) -> &'static str {
    let place = usize::try_from(rng.below(words.len() as u64)).unwrap_or(0);
    words[place]
}

const FIRST_NAMES: &[&str] =
    &["Ana", "Björn", "Chiara", "Dmitri", "Edwin", "Fatima", "Gaël", "Hana", "Ines", "Jun"];
const LAST_NAMES: &[&str] =
    &["Okafor", "Müller", "Nguyễn", "Rossi", "Tanaka", "Silva", "Łukasik", "Haddad", "Berg"];
const CITIES: &[&str] =
    &["Lisboa", "Kraków", "大阪", "Accra", "Zürich", "Québec", "Tromsø", "Lima"];
const TITLES: &[&str] = &[
    "Notebook, squared paper",
    "Tin robot",
    "Café beans, 1 kg",
    "USB cable (2 m)",
    "Field guide to mosses",
    "Wooden train",
    "Lamp \"Aurora\"",
];
const NOTES: &[&str] =
    &["please ring twice", "gift: wrap it 🎁", "leave at the door", "kein Papier, danke"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_up_the_same_documents() {
        let made = |seed| -> Vec<Document> {
            let source = Source::Generated { count: 50, seed };
            source.open().unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        let id = |document: &Document| id_of(&document.text, "id").unwrap();
        assert!(made(1).iter().all(|document| id(document) == document.id));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let path = std::env::temp_dir().join(format!("understudy-lines-{}", std::process::id()));
        let long = format!("{{\"id\":1,\"x\":\"{}\"}}", "y".repeat(3 * limits::LINE_BYTES_MAX));
        std::fs::write(&path, format!("{long}\n{{\"id\":2}}")).unwrap();
        let source = Source::File { path: path.clone(), id_field: "id".to_owned() };
        let read: Vec<_> = source.open().unwrap().collect();
        assert!(matches!(&read[0], Err(BadLine { line: 1, .. })), "{:?}", read[0]);
        assert!(matches!(&read[1], Ok(Document { line: 2, .. })), "{:?}", read[1]);
        assert_eq!((read.len(), source.count().unwrap()), (2, 2));
        std::fs::remove_file(path).unwrap();
    }
}
