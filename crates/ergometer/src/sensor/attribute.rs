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
    owner: Option<Owner>,
}

impl Attribute {
    /// Opens an attribute and reads it once.
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a whole number.
    pub(crate) fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let mut attribute = Attribute { path: path.into(), file: None, owner: None };
        attribute.number()?;
        // The links of a class are numbered anew when a driver is loaded again; a device's own directory stays.
        if let Some(directory) = attribute.path.parent().and_then(|it| fs::canonicalize(it).ok())
            && let Some(name) = attribute.path.file_name()
        {
            attribute.owner = Owner::of(&directory);
            attribute.path = directory.join(name);
        }
        Ok(attribute)
    }

    /// The file that is read.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number that it holds now.
    ///
    /// After a failure the file is looked for and opened afresh, since hardware that was unplugged gets a new one when it
    /// comes back.
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
            None => self.reopen().and_then(|file| read_start(file, bytes)),
        };
        read.map_err(|cause| {
            self.file = None;
            Error::file("read", &self.path, cause)
        })
    }

    fn reopen(&mut self) -> io::Result<&mut File> {
        if let Some(owner) = &self.owner {
            self.path = owner.find(&self.path).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(self.file.insert(File::open(&self.path)?))
    }
}

/// The chip or zone of an attribute, whose directory gets another number when its driver is loaded again: of the entries
/// of one device that have this name, the one at this place in their order.
#[derive(Debug)]
struct Owner {
    device: PathBuf,
    name: String,
    place: usize,
}

impl Owner {
    fn of(directory: &Path) -> Option<Owner> {
        let device = fs::canonicalize(directory.join("device")).ok()?;
        let mut owner = Owner { device, name: text(&directory.join("name")).ok()?, place: 0 };
        owner.place = owner.alike(directory.parent()?).iter().position(|it| it == directory)?;
        Some(owner)
    }

    /// Where the attribute is now that was at `path`.
    fn find(&self, path: &Path) -> Option<PathBuf> {
        let entries = self.alike(path.parent()?.parent()?);
        Some(entries.get(self.place)?.join(path.file_name()?))
    }

    /// The device's entries of this name, in the order of their numbers.
    fn alike(&self, entries: &Path) -> Vec<PathBuf> {
        let is_alike = |entry: &PathBuf| {
            fs::canonicalize(entry.join("device")).is_ok_and(|device| device == self.device)
                && text(&entry.join("name")).is_ok_and(|name| name == self.name)
        };
        let entries = fs::read_dir(entries).into_iter().flatten().flatten();
        let mut alike: Vec<_> = entries.map(|entry| entry.path()).filter(is_alike).collect();
        // `hwmon9` is before `hwmon10`.
        alike.sort_by_cached_key(|entry| (entry.as_os_str().len(), entry.clone()));
        alike
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
