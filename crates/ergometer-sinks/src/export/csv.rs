//! A [`Table`] as comma-separated values (RFC 4180).

use std::fmt;
use std::io::Write;
use std::ops::Range;

use ergometer::{Error, Result};

use super::table::{Cell, Table, unwritten};

/// Writes a table with the names of its columns first; what is not known is an empty field, and what is no finite number `NaN`.
///
/// Text is quoted where the format asks for it, and otherwise written as it is: a program that takes a name that begins with
/// `=` for a formula has to be told not to. Gives the lines of the logs that could not be understood; what they said is missing.
///
/// # Errors
/// If a log cannot be read, or the table not be written.
pub fn write(table: &Table, mut out: impl Write) -> Result<Vec<Error>> {
    let names: Vec<String> = table.columns().iter().map(|name| Field(name).to_string()).collect();
    writeln!(out, "{}", names.join(",")).map_err(unwritten)?;
    let bad = table.visit(|row| {
        for (place, cell) in row.iter().enumerate() {
            write!(out, "{}", if place > 0 { "," } else { "" })
                .and_then(|()| match cell {
                    Cell::Missing => Ok(()),
                    Cell::Text(text) => write!(out, "{}", Field(text)),
                    Cell::Whole(count) => write!(out, "{count}"),
                    Cell::Number(number) => write!(out, "{number}"),
                    Cell::Energy(energy) => write!(out, "{}", Digits(*energy)),
                    Cell::Truth(truth) => write!(out, "{truth}"),
                })
                .map_err(unwritten)?;
        }
        writeln!(out).map_err(unwritten)
    })?;
    out.flush().map_err(unwritten)?;
    Ok(bad)
}

/// An energy in joules with every digit.
struct Digits(ergometer::Energy);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

/// A field: in quotes where it holds a comma, a quote or the end of a line, with its own quotes doubled.
pub(super) struct Field<'a>(pub(super) &'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(['"', ',', '\n', '\r']) {
            write!(f, "\"{}\"", self.0.replace('"', "\"\""))
        } else {
            f.write_str(self.0)
        }
    }
}

/// The records of a file, each with its bytes, without its end, and its fields; `None` if the file ends within quotes.
pub(super) fn records(text: &str) -> Option<Vec<(Range<usize>, Vec<String>)>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut start) = (false, 0);
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        match letter {
            '"' if quoted && next == Some('"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted && next == Some('\n') => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                let line = &text[start..at];
                let end = start + line.strip_suffix('\r').unwrap_or(line).len();
                records.push((start..end, std::mem::take(&mut record)));
                start = at + 1;
            }
            letter => field.push(letter),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push((start..text.len(), record));
    }
    (!quoted).then_some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["plain", "a,b", "say \"so\"", "two\r\nlines", "=1+1", "", "\"", "é,ü"] {
            let line = format!("{},{}\n", Field(text), Field("x"));
            let fields = vec![text.to_owned(), "x".to_owned()];
            assert_eq!(records(&line).unwrap(), [(0..line.len() - 1, fields)], "{line}");
        }
        assert_eq!(Field("a\"b").to_string(), "\"a\"\"b\"");
    }
}
