//! Columns for people.

use crate::say::say;

/// Rows under a heading. Columns whose heading begins with `>` are numbers and stand to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Table {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let first = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned());
        Table { rows: vec![first.collect()], right }
    }

    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// Prints it, if it has rows, and an empty line.
    pub fn say(&self) {
        if self.rows.len() < 2 {
            return;
        }
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let columns = row.iter().zip(self.right.iter().zip(&widths));
            let cells = columns.map(|(cell, (&right, &width))| {
                if right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        say!("");
    }
}

/// The text without characters that a terminal would obey: names and ids are anybody's.
pub fn plain(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(escape).collect()
}

/// A number, or a dash.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

/// Bytes as people read them.
pub fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing() {
        assert_eq!(plain("a\u{1b}[2J\u{9b}b\n\u{e9}"), "a\\u{1b}[2J\\u{9b}b\\n\u{e9}");
    }
}
