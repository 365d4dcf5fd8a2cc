//! [`Token`]: keys and values of a YAML block, with their places.

use std::ops::Range;

use super::Fault;

/// A key or a value, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// The bytes of the text. A key ends after its colon, a value before the comment behind it.
    pub(super) range: Range<usize>,
    /// The line of the first byte, from 1.
    pub(super) line: usize,
    /// The column of the first byte, from 0.
    pub(super) column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A key of a block mapping, without its quotes.
    Key(String),
    /// The dash of a block sequence.
    Dash,
    /// A scalar: plain, in quotes, or a block of lines.
    Scalar,
    /// A sequence or mapping in brackets.
    Flow,
}

/// Reads the YAML in the bytes `block`, whose first line has the number `line`.
///
/// What metadata is made of is understood: block mappings and sequences, plain, quoted and block scalars, brackets, comments,
/// each over as many lines as it likes. Anything else is a fault.
pub(super) fn tokens(text: &str, block: Range<usize>, line: usize) -> Result<Vec<Token>, Fault> {
    let tokens = Vec::new();
    let start = block.start;
    let mut scanner =
        Scanner { text, tokens, open: Open::Nothing, owner: None, line, start, end: start };
    for content in text[block].split_inclusive('\n') {
        let bare = content.strip_suffix('\n').unwrap_or(content);
        let bare = bare.strip_suffix('\r').unwrap_or(bare);
        scanner.end = scanner.start + bare.len();
        // Some readers take these for the end of a line, others do not.
        if bare.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            return Err(scanner.fault("a character within this line may end it"));
        }
        scanner.read()?;
        scanner.start += content.len();
        scanner.line += 1;
    }
    match scanner.open {
        Open::Quotes(_, open) => Err(Fault::new(open.line, "these quotes never close")),
        Open::Brackets(brackets) => {
            Err(Fault::new(brackets.open.line, "this bracket never closes"))
        }
        Open::Nothing | Open::Plain | Open::Lines { .. } => Ok(scanner.tokens),
    }
}

struct Scanner<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    open: Open,
    /// The column of the last key or dash, whose value comes next or is being read.
    owner: Option<usize>,
    /// The line that is being read: its number, first byte, and last byte but its end.
    line: usize,
    start: usize,
    end: usize,
}

/// What the last line left open.
enum Open {
    Nothing,
    /// A plain scalar goes on in lines that are indented more than its owner.
    Plain,
    /// A scalar in these quotes.
    Quotes(char, Place),
    Brackets(Brackets),
    /// A block of lines, of this indentation once its first line has come.
    Lines {
        indentation: Option<usize>,
    },
}

/// Where something began.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    line: usize,
    column: usize,
}

struct Brackets {
    open: Place,
    depth: usize,
    quotes: Option<char>,
    /// True where a scalar may begin, so that quotes are quotes.
    fresh: bool,
}

impl Scanner<'_> {
    fn fault(&self, why: &'static str) -> Fault {
        Fault::new(self.line, why)
    }

    fn place(&self, at: usize) -> Place {
        Place { at, line: self.line, column: self.text[self.start..at].chars().count() }
    }

    fn push(&mut self, kind: Kind, from: Place, end: usize) {
        let Place { at, line, column } = from;
        self.tokens.push(Token { kind, range: at..end, line, column });
    }

    /// The last value reaches up to here.
    fn extend(&mut self, end: usize) {
        if let Some(last) = self.tokens.last_mut() {
            last.range.end = end;
        }
    }

    fn read(&mut self) -> Result<(), Fault> {
        let content = &self.text[self.start..self.end];
        let indentation = content.len() - content.trim_start_matches(' ').len();
        let blank = content.trim().is_empty();
        let within = self.owner.is_some_and(|owner| indentation > owner);
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Quotes(quotes, open) => return self.quoted(quotes, open, self.start),
            Open::Brackets(brackets) => return self.bracketed(brackets, self.start),
            open if blank => {
                self.open = open;
                return Ok(());
            }
            Open::Plain if within && !content.trim_start().starts_with('#') => {
                self.plain_end(self.start + indentation);
                return Ok(());
            }
            Open::Lines { indentation: known } => {
                if known.map_or(within, |known| indentation >= known) {
                    self.extend(self.end);
                    self.open = Open::Lines { indentation: known.or(Some(indentation)) };
                    return Ok(());
                }
            }
            Open::Nothing | Open::Plain => {}
        }
        if blank { Ok(()) } else { self.node(self.start + indentation, false) }
    }

    /// Reads what a line holds from `at` on; after a key of the same line if `keyed`.
    fn node(&mut self, mut at: usize, mut keyed: bool) -> Result<(), Fault> {
        let mut labelled = false;
        loop {
            let rest = &self.text[at..self.end];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            if rest[..blanks].contains('\t') && !keyed {
                return Err(self.fault("a tab stands where YAML has blanks"));
            }
            at += blanks;
            let rest = &rest[blanks..];
            let mut letters = rest.chars();
            let Some(first) = letters.next() else { return Ok(()) };
            let alone = letters.next().is_none_or(char::is_whitespace);
            let here = self.place(at);
            match first {
                '#' => return Ok(()),
                '-' if alone && keyed => return Err(self.fault("a list begins behind a key")),
                '-' if alone => {
                    self.push(Kind::Dash, here, at + 1);
                    self.owner = Some(here.column);
                    at += 1;
                }
                '?' if alone => return Err(self.fault("a key is written with `?`")),
                // What a node is labelled with comes before it.
                '&' | '!' => {
                    at += rest.find(char::is_whitespace).unwrap_or(rest.len());
                    labelled = true;
                }
                '"' | '\'' if labelled && !keyed => {
                    return Err(self.fault("an anchor or a tag stands before quotes"));
                }
                '"' | '\'' => return self.quoted(first, here, at + 1),
                '[' | '{' => {
                    let brackets = Brackets { open: here, depth: 0, quotes: None, fresh: true };
                    return self.bracketed(brackets, at);
                }
                '|' | '>' => return self.lines(here, rest),
                '%' | '@' | '`' | ']' | '}' | ',' => {
                    return Err(self.fault("no value begins with this character"));
                }
                _ => match colon(rest) {
                    Some(_) if labelled && !keyed => {
                        return Err(self.fault("a key has an anchor or a tag"));
                    }
                    Some(colon) => {
                        let name = rest[..colon].trim_end().to_owned();
                        self.key(name, here, at + colon + 1, keyed)?;
                        (at, keyed) = (at + colon + 1, true);
                    }
                    None => {
                        self.push(Kind::Scalar, here, at);
                        self.plain_end(at);
                        return Ok(());
                    }
                },
            }
        }
    }

    fn key(&mut self, name: String, from: Place, end: usize, keyed: bool) -> Result<(), Fault> {
        if keyed {
            return Err(self.fault("two keys stand in one line"));
        }
        self.push(Kind::Key(name), from, end);
        self.owner = Some(from.column);
        Ok(())
    }

    /// Ends the last value with the plain text that stands at `at`, for now.
    fn plain_end(&mut self, at: usize) {
        let rest = &self.text[at..self.end];
        let comment = [" #", "\t#"].into_iter().filter_map(|mark| rest.find(mark)).min();
        let text = rest[..comment.unwrap_or(rest.len())].trim_end();
        self.extend(at + text.len());
        self.open = if comment.is_some() { Open::Nothing } else { Open::Plain };
    }

    fn quoted(&mut self, quotes: char, open: Place, from: usize) -> Result<(), Fault> {
        let Some(end) = closing(&self.text[from..self.end], quotes).map(|end| from + end) else {
            self.open = Open::Quotes(quotes, open);
            return Ok(());
        };
        let rest = &self.text[end..self.end];
        if rest.trim_start_matches(' ').starts_with(':') {
            if open.line != self.line {
                return Err(self.fault("a key goes over several lines"));
            }
            let name = self.text[open.at + 1..end - 1].to_owned();
            if quotes == '"' && name.contains('\\') {
                return Err(self.fault("a key has an escape"));
            }
            let keyed = self
                .tokens
                .last()
                .is_some_and(|last| last.line == self.line && matches!(last.kind, Kind::Key(_)));
            let colon = end + rest.len() - rest.trim_start_matches(' ').len() + 1;
            self.key(name, open, colon, keyed)?;
            return self.node(colon, true);
        }
        self.push(Kind::Scalar, open, end);
        self.nothing_more(end)
    }

    fn bracketed(&mut self, mut brackets: Brackets, from: usize) -> Result<(), Fault> {
        let mut at = from;
        let mut before = ' ';
        while let Some(letter) = self.text[at..self.end].chars().next() {
            let rest = &self.text[at + letter.len_utf8()..self.end];
            if let Some(quotes) = brackets.quotes {
                let Some(end) = closing(&self.text[at..self.end], quotes) else { break };
                at += end;
                (brackets.quotes, brackets.fresh, before) = (None, false, quotes);
                continue;
            }
            match letter {
                '"' | '\'' if brackets.fresh => brackets.quotes = Some(letter),
                '#' if before.is_whitespace() => break,
                '[' | '{' => (brackets.depth, brackets.fresh) = (brackets.depth + 1, true),
                ']' | '}' => (brackets.depth, brackets.fresh) = (brackets.depth - 1, false),
                ',' => brackets.fresh = true,
                ':' => {
                    brackets.fresh = matches!(before, '"' | '\'')
                        || rest.chars().next().is_none_or(char::is_whitespace);
                }
                letter if letter.is_whitespace() => {}
                _ => brackets.fresh = false,
            }
            at += letter.len_utf8();
            before = letter;
            if brackets.depth == 0 {
                self.push(Kind::Flow, brackets.open, at);
                return self.nothing_more(at);
            }
        }
        self.open = Open::Brackets(brackets);
        Ok(())
    }

    /// Reads the head of a block of lines, such as `|` or `>-`.
    fn lines(&mut self, open: Place, rest: &str) -> Result<(), Fault> {
        let head = rest[1..].len() - rest[1..].trim_start_matches(['+', '-']).len() + 1;
        if rest[head..].starts_with(|letter: char| letter.is_ascii_digit()) {
            return Err(self.fault("a block of lines says its own indentation"));
        }
        if self.owner.is_none() {
            return Err(self.fault("a block of lines has no key"));
        }
        self.push(Kind::Scalar, open, open.at + head);
        self.nothing_more(open.at + head)?;
        self.open = Open::Lines { indentation: None };
        Ok(())
    }

    /// Behind a value comes nothing but a comment.
    fn nothing_more(&self, at: usize) -> Result<(), Fault> {
        let rest = &self.text[at..self.end];
        let text = rest.trim_start();
        if text.is_empty() || (text.starts_with('#') && text.len() < rest.len()) {
            Ok(())
        } else {
            Err(self.fault("something follows a value that has ended"))
        }
    }
}

/// Where the colon stands that makes a key of plain text, if one does before a comment.
fn colon(text: &str) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, letter)| *letter);
        if letter == ':' && next.is_none_or(char::is_whitespace) {
            return Some(at);
        }
        if letter == '#' && before.is_whitespace() {
            return None;
        }
        before = letter;
    }
    None
}

/// Where text in quotes ends, after the closing ones.
fn closing(text: &str, quotes: char) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && quotes == '"' {
            letters.next();
        } else if letter == quotes {
            // In single quotes, two of them are one in the text.
            if quotes == '\'' && letters.peek().is_some_and(|(_, next)| *next == quotes) {
                letters.next();
            } else {
                return Some(at + 1);
            }
        }
    }
    None
}
