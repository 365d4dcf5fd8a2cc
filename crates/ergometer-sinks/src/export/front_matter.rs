//! The front matter of a card: YAML between two lines of dashes, in which one entry is set and no other byte changes.

mod token;

use std::fmt;
use std::ops::Range;

use token::{Kind, Token, tokens};

/// Why a front matter is not touched: it cannot be understood for certain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where, from 1.
    pub(super) line: usize,
    why: String,
}

impl Fault {
    fn new(line: usize, why: impl Into<String>) -> Fault {
        Fault { line, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A field and its value in YAML; one without a value has no place in the entry.
type Field<'a> = (&'a str, Option<String>);

/// Sets the mapping `name` in the front matter of a card to `fields`; gives the card, and the keys that the mapping had and
/// keeps.
///
/// A card without front matter gets one. Where the entry is there already, fields that are not named keep their values.
/// Comments, order and line ends stay as they are.
///
/// # Errors
/// A front matter that is not understood for certain.
pub(super) fn set(
    card: &str,
    name: &str,
    fields: &[Field<'_>],
) -> Result<(String, Vec<String>), Fault> {
    let Some(block) = Block::of(card)? else {
        let head = if card.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let end = if card.split('\n').next().is_some_and(|first| first.ends_with('\r')) {
            "\r\n"
        } else {
            "\n"
        };
        let front = format!("---{end}{}---{end}", entry(name, fields, end));
        return Ok((replaced(card, vec![(head..head, front)]), Vec::new()));
    };
    let tokens = tokens(card, block.yaml.clone(), block.line)?;
    if let Some(first) = tokens.first()
        && (first.column > 0 || !matches!(first.kind, Kind::Key(_)))
    {
        return Err(Fault::new(first.line, "the metadata does not begin with a key"));
    }
    let value = |token: &&Token| matches!(token.kind, Kind::Scalar | Kind::Flow);
    if let Some(stray) = tokens.iter().filter(value).find(|token| token.column == 0) {
        return Err(Fault::new(stray.line, "this line has neither a key nor an indentation"));
    }
    let mut places =
        (0..tokens.len()).filter(|place| tokens[*place].column == 0 && tokens[*place].is_key(name));
    let Some(place) = places.next() else {
        let lines = tokens.last().is_some_and(|last| is_lines(card, last));
        let here = if lines { block.yaml.start } else { block.yaml.end };
        let new = entry(name, fields, block.end);
        return Ok((replaced(card, vec![(here..here, new)]), Vec::new()));
    };
    if let Some(again) = places.next() {
        let line = tokens[place].line;
        return Err(Fault::new(
            tokens[again].line,
            format!("`{name}` is here, and in line {line} too"),
        ));
    }
    let content = content(&tokens, place);
    let (edits, kept) = block.edits(card, &tokens[place], content, fields)?;
    Ok((replaced(card, edits), kept))
}

/// The entry as lines of its own.
fn entry(name: &str, fields: &[Field<'_>], end: &str) -> String {
    format!("{name}:{end}{}", lines(fields, 2, end))
}

fn lines(fields: &[Field<'_>], indentation: usize, end: &str) -> String {
    let known = fields.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    known.map(|(key, value)| format!("{:indentation$}{key}: {value}{end}", "")).collect()
}

/// Whether a value is a block of lines, such as `|`. New entries go before it: to the Hub, the end of the last line is no part of
/// the metadata, and a block of lines that is the last value would gain it.
fn is_lines(card: &str, token: &Token) -> bool {
    token.kind == Kind::Scalar && card[token.range.start..].starts_with(['|', '>'])
}

/// What belongs to the key at `place`: the tokens up to the next key that is not indented more.
fn content(tokens: &[Token], place: usize) -> &[Token] {
    let column = tokens[place].column;
    let rest = &tokens[place + 1..];
    let next = rest.iter().position(|token| {
        token.column < column || (token.column == column && matches!(token.kind, Kind::Key(_)))
    });
    &rest[..next.unwrap_or(rest.len())]
}

/// The text with these bytes replaced, which do not overlap.
fn replaced(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let (mut result, mut done) = (String::with_capacity(text.len() + 512), 0);
    for (range, new) in edits {
        result.push_str(&text[done..range.start]);
        result.push_str(&new);
        done = range.end;
    }
    result.push_str(&text[done..]);
    result
}

/// A front matter that is there.
struct Block {
    /// The bytes between the lines of dashes.
    yaml: Range<usize>,
    /// The number of its first line, from 1.
    line: usize,
    /// How its lines end.
    end: &'static str,
}

type Edits = Vec<(Range<usize>, String)>;

impl Block {
    /// The front matter of a card, found as the Hub finds it: first thing in the file, between lines of three dashes.
    fn of(card: &str) -> Result<Option<Block>, Fault> {
        let body = card.strip_prefix('\u{feff}').unwrap_or(card);
        let open = card.len() - body.trim_start().len();
        let line = 1 + card[..open].matches('\n').count();
        let Some(rest) = card[open..].strip_prefix("---") else { return Ok(None) };
        let first = rest.split_inclusive('\n').next().unwrap_or("");
        let end = match first {
            "\n" => "\n",
            "\r\n" => "\r\n",
            text if text.trim().is_empty() => {
                return Err(Fault::new(
                    line,
                    "`---` does not stand alone in its line, so the Hub finds no metadata here",
                ));
            }
            text if text.starts_with('\r') => {
                return Err(Fault::new(line, "this line ends with a carriage return alone"));
            }
            // A rule of more dashes, or text.
            _ => return Ok(None),
        };
        if card[..open].rsplit('\n').next().is_some_and(|blanks| blanks.contains([' ', '\t'])) {
            return Err(Fault::new(line, "`---` is indented"));
        }
        let start = open + 3 + first.len();
        let mut at = start;
        for content in card[start..].split_inclusive('\n') {
            if content.trim_end_matches([' ', '\t', '\r', '\n']) == "---" {
                return Ok(Some(Block { yaml: start..at, line: line + 1, end }));
            }
            at += content.len();
        }
        Err(Fault::new(line, "metadata begins here, and no line of `---` ends it"))
    }

    /// What to change where the entry is there already.
    fn edits(
        &self,
        card: &str,
        key: &Token,
        content: &[Token],
        fields: &[Field<'_>],
    ) -> Result<(Edits, Vec<String>), Fault> {
        match content {
            [] => {
                let here = self.next_line(card, key.range.end);
                self.plain(card, key.range.end..key.range.end)?;
                Ok((vec![(here..here, lines(fields, 2, self.end))], Vec::new()))
            }
            [value] if value.kind == Kind::Scalar || card[value.range.clone()].starts_with('{') => {
                self.plain(card, key.range.end..value.range.start)?;
                let kept = match value.kind {
                    Kind::Flow => kept(card, value, fields)?,
                    _ => Vec::new(),
                };
                uncommented(card, value)?;
                let rest: String =
                    kept.iter().map(|(_, field)| format!("  {field}{}", self.end)).collect();
                // Without the blank before it, unless there is a comment.
                let between = &card[key.range.end..value.range.start];
                let from = value.range.start - if between == " " { 1 } else { 0 };
                let here = self.next_line(card, value.range.end);
                let edits = vec![
                    (from..value.range.end, String::new()),
                    (here..here, lines(fields, 2, self.end) + &rest),
                ];
                Ok((edits, kept.into_iter().map(|(key, _)| key.to_owned()).collect()))
            }
            [first, ..] if matches!(first.kind, Kind::Key(_)) && first.line > key.line => {
                let edits = self.block_edits(card, content, first.column, fields)?;
                let named = |key: &String| fields.iter().any(|(name, _)| name == key);
                let keys = content.iter().filter_map(|token| match &token.kind {
                    Kind::Key(key) if token.column == first.column && !named(key) => Some(key),
                    _ => None,
                });
                Ok((edits, keys.cloned().collect()))
            }
            [first, ..] => Err(Fault::new(first.line, "this is not a number, and no mapping")),
        }
    }

    /// What to change in a mapping of lines, which are indented to `column`.
    fn block_edits(
        &self,
        card: &str,
        tokens: &[Token],
        column: usize,
        fields: &[Field<'_>],
    ) -> Result<Edits, Fault> {
        if let Some(stray) = tokens.iter().find(|token| token.column < column) {
            return Err(Fault::new(stray.line, "this is indented less than the line before"));
        }
        let (mut edits, mut missing) = (Edits::new(), Vec::new());
        for (name, new) in fields {
            let mut places = (0..tokens.len())
                .filter(|place| tokens[*place].column == column && tokens[*place].is_key(name));
            let Some(place) = places.next() else {
                missing.push((*name, new.clone()));
                continue;
            };
            if let Some(again) = places.next() {
                return Err(Fault::new(tokens[again].line, format!("`{name}` is here twice")));
            }
            let from = tokens[place].range.end;
            let Some(new) = new else {
                edits.push((self.dropped(card, tokens, place)?, String::new()));
                continue;
            };
            match content(tokens, place) {
                [] => {
                    self.plain(card, from..from)?;
                    edits.push((from..from, format!(" {new}")));
                }
                [value] if matches!(value.kind, Kind::Scalar | Kind::Flow) => {
                    self.plain(card, from..value.range.start)?;
                    uncommented(card, value)?;
                    edits.push((value.range.clone(), new.clone()));
                }
                [first, ..] => {
                    return Err(Fault::new(first.line, format!("`{name}` is more than one value")));
                }
            }
        }
        if let ([first, ..], [.., last], false) = (tokens, tokens, missing.is_empty()) {
            let stays = edits.iter().all(|(range, _)| *range != last.range);
            let here = if stays && is_lines(card, last) {
                card[..first.range.start].rfind('\n').map_or(0, |end| end + 1)
            } else {
                self.next_line(card, last.range.end)
            };
            edits.push((here..here, lines(&missing, column, self.end)));
        }
        Ok(edits)
    }

    /// The lines of a field that goes.
    fn dropped(&self, card: &str, tokens: &[Token], place: usize) -> Result<Range<usize>, Fault> {
        let key = &tokens[place];
        let wrong =
            |why: &str| Fault::new(key.line, format!("what is not known of this run {why}"));
        let value = match content(tokens, place) {
            [] => key.range.end..key.range.end,
            [value] if matches!(value.kind, Kind::Scalar | Kind::Flow) => {
                uncommented(card, value)?;
                value.range.clone()
            }
            _ => return Err(wrong("is more than one value")),
        };
        self.plain(card, key.range.end..value.start)?;
        let from = card[..key.range.start].rfind('\n').map_or(0, |end| end + 1);
        let end = self.next_line(card, value.end);
        if card[key.range.end..value.start].contains('#') || card[value.end..end].contains('#') {
            return Err(wrong("has a comment"));
        }
        let last = tokens.last().is_none_or(|last| last.range.end <= value.end);
        if last && place.checked_sub(1).is_some_and(|before| is_lines(card, &tokens[before])) {
            return Err(wrong("stands behind a block of lines"));
        }
        Ok(from..end)
    }

    /// Where the line after the one of this byte begins.
    fn next_line(&self, card: &str, at: usize) -> usize {
        let rest = &card[at..self.yaml.end];
        at + rest.find('\n').map_or(rest.len(), |end| end + 1)
    }

    /// Refuses an anchor or a tag before a value that is about to go: something else may refer to it. An empty range stands
    /// before a value that is not there.
    fn plain(&self, card: &str, between: Range<usize>) -> Result<(), Fault> {
        let bare = |line: &str| line.split('#').next().unwrap_or("").trim().is_empty();
        let end =
            if between.is_empty() { self.next_line(card, between.start) } else { between.end };
        let next = card[end..self.yaml.end].lines().find(|line| !bare(line)).unwrap_or("");
        let labelled = between.is_empty() && next.trim_start().starts_with(['&', '!']);
        if !labelled && card[between.start..end].lines().all(bare) {
            return Ok(());
        }
        let line = 1 + card[..between.start].matches('\n').count();
        Err(Fault::new(line, "the value has an anchor or a tag"))
    }
}

/// Refuses a value with a comment within it, which would go with it.
fn uncommented(card: &str, value: &Token) -> Result<(), Fault> {
    let text = &card[value.range.clone()];
    let commented = |line: &str| line.contains(" #") || line.contains("\t#");
    let within = match (value.kind == Kind::Flow, text.starts_with(['|', '>'])) {
        (true, _) => text.lines().any(commented),
        (false, true) => text.lines().next().is_some_and(commented),
        (false, false) => false,
    };
    if within { Err(Fault::new(value.line, "a comment stands within the value")) } else { Ok(()) }
}

/// The fields of a mapping in braces that are not set anew, each by its key and as it stands.
fn kept<'a>(
    card: &'a str,
    mapping: &Token,
    fields: &[Field<'_>],
) -> Result<Vec<(&'a str, &'a str)>, Fault> {
    let inner = &card[mapping.range.start + 1..mapping.range.end - 1];
    let wrong = |why: &str| Fault::new(mapping.line, why);
    if inner.contains(['[', '{', '#', '&', '*', '!']) {
        return Err(wrong("the mapping in braces holds more than keys and values"));
    }
    let mut kept = Vec::new();
    for field in split(inner) {
        let field = field.trim();
        if field.is_empty() {
            continue;
        }
        let key = field.split(':').next().unwrap_or("").trim().trim_matches(['"', '\'']);
        if fields.iter().any(|(name, _)| *name == key) {
            continue;
        }
        let valued = field.contains(": ") || field.ends_with(':');
        if !valued || field.contains('\n') {
            return Err(wrong("the mapping in braces holds more than keys and values"));
        }
        kept.push((key, field));
    }
    Ok(kept)
}

/// Parts between commas that are in no quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quotes, mut fresh) = (Vec::new(), 0, None, true);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quotes, letter) {
            (Some('"'), '\\') => _ = letters.next(),
            (Some(open), _) if letter == open => quotes = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if fresh => quotes = Some(letter),
            (None, ',') => {
                parts.push(&text[from..at]);
                (from, fresh) = (at + 1, true);
            }
            (None, ':') => fresh = true,
            (None, _) => fresh &= letter.is_whitespace(),
        }
    }
    parts.push(&text[from..]);
    parts
}

impl Token {
    fn is_key(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Key(key) if key == name)
    }
}
