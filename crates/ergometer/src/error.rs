//! One opaque [`Error`]: the thing, the cause, the cure.

use std::error::Error as StdError;
use std::fmt;

/// A result whose error is, unless said otherwise, an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be set up, read, written or understood.
///
/// Printed, it names the thing, the cause and, where there is one, the cure. The kinds stay private, so that new
/// hardware does not break callers; a program asks with `is_…` what it can act on.
pub struct Error(Box<Parts>);

struct Parts {
    kind: Kind,
    what: String,
    cure: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a program can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is nothing of this sort on this machine.
    Absent,
    /// It is there, and this process may not read it.
    PermissionDenied,
    /// It is there, and cannot give what was asked.
    Unsupported,
    /// It was there, and is gone or fails for now.
    Lost,
    /// A file or argument that does not say what it should.
    Invalid,
    /// A file that could not be read or written.
    File,
    /// No sensor at all.
    NoSensor,
}

impl Error {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error(Box::new(Parts { kind, what: what.into(), cure: None, source: None }))
    }

    /// There is nothing of this sort on this machine.
    pub fn absent(what: impl Into<String>) -> Self {
        Error::new(Kind::Absent, what)
    }

    /// It is there, and this process may not read it.
    pub fn permission_denied(what: impl Into<String>) -> Self {
        Error::new(Kind::PermissionDenied, what)
    }

    /// It is there, and cannot give what was asked.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Error::new(Kind::Unsupported, what)
    }

    /// It was there, and is gone or fails for now.
    pub fn lost(what: impl Into<String>) -> Self {
        Error::new(Kind::Lost, what)
    }

    /// A file or argument that does not say what it should.
    pub fn invalid(what: impl Into<String>) -> Self {
        Error::new(Kind::Invalid, what)
    }

    /// A file that could not be read or written; the cause is part of the text.
    pub fn file(doing: &str, path: &std::path::Path, cause: std::io::Error) -> Self {
        let kind = match cause.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
            std::io::ErrorKind::NotFound => Kind::Absent,
            _ => Kind::File,
        };
        Error::new(kind, format!("cannot {doing} `{}`: {cause}", path.display())).caused_by(cause)
    }

    /// This error with what the user can do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.0.cure = Some(cure.into());
        self
    }

    /// This error with the one beneath it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// This error with the place where it was found in front.
    #[must_use]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.what = format!("{place}: {}", self.0.what);
        self
    }

    /// That a thing was lost for this reason, with this error's cure.
    #[must_use]
    pub(crate) fn loses(mut self, thing: &str) -> Self {
        let mut lost = Error::lost(format!("{thing} was lost: {}", self.0.what));
        lost.0.cure = self.0.cure.take();
        lost.caused_by(self)
    }

    /// What failed, on what, and why.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What the user can do about it, where something can be done.
    pub fn remedy(&self) -> Option<&str> {
        self.0.cure.as_deref()
    }

    /// True if there is nothing of this sort on this machine.
    pub fn is_absent(&self) -> bool {
        self.0.kind == Kind::Absent
    }

    /// True if the thing is there and this process may not read it.
    pub fn is_permission_denied(&self) -> bool {
        self.0.kind == Kind::PermissionDenied
    }

    /// True if the thing is there and cannot give what was asked.
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == Kind::Unsupported
    }

    /// True if the thing was there and is gone, or fails for now.
    pub fn is_lost(&self) -> bool {
        self.0.kind == Kind::Lost
    }

    /// True if no sensor at all could be opened.
    pub fn is_no_sensor(&self) -> bool {
        self.0.kind == Kind::NoSensor
    }

    /// One word for the kind, as `ergometer doctor --json` gives it.
    pub fn kind(&self) -> &'static str {
        match self.0.kind {
            Kind::Absent => "absent",
            Kind::PermissionDenied => "permission-denied",
            Kind::Unsupported => "unsupported",
            Kind::Lost => "lost",
            Kind::Invalid => "invalid",
            Kind::File => "file",
            Kind::NoSensor => "no-sensor",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        match &self.0.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}

/// The same as [`Display`](fmt::Display), because `fn main() -> Result<…>` prints this one.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_keeps_the_cure_of_its_cause() {
        let lost = Error::invalid("it shows nonsense").cure("update it").loses("node:BAT0");
        assert!(lost.is_lost());
        assert_eq!(lost.what(), "node:BAT0 was lost: it shows nonsense");
        assert_eq!(lost.remedy(), Some("update it"));
        assert_eq!(lost.source().unwrap().to_string(), "it shows nonsense");
    }
}
