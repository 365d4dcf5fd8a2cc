//! A kernel attribute: a small file of sysfs that holds one number and is read again and again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::units::{Energy, Power};

/// One attribute, kept open: a read is one system call (about 1 µs) plus what the driver needs for the value.
#[derive(Debug)]
pub(crate) struct Attribute {
    path: PathBuf,
    file: Option<File>,
}

impl Attribute {
    /// Opens an attribute and reads it once.
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a whole number.
    pub(crate) fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let mut attribute = Attribute { path: path.into(), file: None };
        attribute.number()?;
        Ok(attribute)
    }

    /// The file that is read.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number that it holds now.
    ///
    /// After a failure the file is opened afresh, since hardware that was unplugged gets a new one when it comes back.
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a whole number.
    pub(crate) fn number(&mut self) -> Result<i64> {
        let mut text = [0; 32];
        let length = self.bytes(&mut text)?;
        // An emptied file is one of hardware that was unplugged, too.
        parse(&self.path, &text[..length]).inspect_err(|_| self.file = None)
    }

    /// The energy that it holds now, in the kernel's unit for energies (powercap and hwmon agree on it).
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a whole number that is not negative.
    pub(crate) fn energy(&mut self) -> Result<Energy> {
        let number = self.number()?;
        u64::try_from(number).map(Energy::from_microjoules).map_err(|_| {
            Error::invalid(format!("`{}` holds {number}, below zero", self.path.display()))
        })
    }

    /// The power that it holds now, in the kernel's unit for powers.
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a whole number.
    pub(crate) fn power(&mut self) -> Result<Power> {
        self.number().map(Power::from_microwatts)
    }

    /// Reads the attribute's content from its beginning into `bytes`, and gives its length; for attributes that are no
    /// number.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn bytes(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let read = match &mut self.file {
            Some(file) => read_start(file, bytes),
            none => File::open(&self.path)
                .map(|file| none.insert(file))
                .and_then(|file| read_start(file, bytes)),
        };
        read.map_err(|cause| {
            self.file = None;
            Error::file("read", &self.path, cause)
        })
    }
}

/// The number in an attribute that is read once.
///
/// # Errors
/// If it cannot be read, or does not hold a whole number.
pub(crate) fn number(path: &Path) -> Result<i64> {
    parse(path, &fs::read(path).map_err(|cause| Error::file("read", path, cause))?)
}

/// The text of an attribute that is read once, without the line's end.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn text(path: &Path) -> Result<String> {
    let text = fs::read(path).map_err(|cause| Error::file("read", path, cause))?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

fn parse(path: &Path, text: &[u8]) -> Result<i64> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse().map_err(|_: std::num::ParseIntError| {
        Error::invalid(format!(
            "`{}` should hold a whole number and holds {:?}",
            path.display(),
            text.trim()
        ))
    })
}

#[cfg(unix)]
fn read_start(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn read_start(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    use std::io::{Read, Seek};
    file.rewind()?;
    file.read(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_quoted_with_its_place() {
        let error = parse(Path::new("/sys/energy_uj"), b"n/a\n").unwrap_err();
        assert!(error.what().contains("/sys/energy_uj") && error.what().contains("n/a"), "{error}");
        assert_eq!(parse(Path::new("x"), b"  42\n").unwrap(), 42);
    }
}
