//! Files that are written whole or not at all, and by one at a time.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ergometer::{Error, Result, RunLog};

/// Puts a file that `write` fills in the place of what was there, in one go: until it is whole, the old one stays.
///
/// A link to a file is followed, and the permissions of a file that was there are kept. What is there and no file, such as a device or a
/// pipe, is written to as it is.
///
/// # Errors
/// A path where no file can be, a link to nothing, a file that is read-only or a part of a run's log, and what `write` fails at;
/// the file is then as it was.
pub(crate) fn replace<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let there = match fs::canonicalize(path) {
        Ok(there) => there,
        Err(_) if path.is_symlink() => {
            return Err(Error::absent(format!("`{}` is a link to nothing", path.display()))
                .cure("remove the link, or make the file that it is to"));
        }
        Err(_) => path.to_owned(),
    };
    let old = fs::metadata(&there).ok();
    if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
        let mut file =
            File::options().write(true).open(&there).map_err(|cause| unwritten(path, cause))?;
        return write(&mut file);
    }
    if old.as_ref().is_some_and(|old| old.is_file() && old.permissions().readonly()) {
        // A new file in its place would not need its permission.
        return Err(Error::invalid(format!("`{}` is read-only", path.display()))
            .cure("make it writable, or write to another file"));
    }
    if is_logged(&there) {
        return Err(Error::invalid(format!("`{}` is a part of a run's log", path.display()))
            .cure("write to another file"));
    }
    let unwritten = |cause| unwritten(path, cause);
    let draft = draft(&there)?;
    // What a killed process of the same number left there. Its name can be guessed: a link in its place is not followed.
    let _ = fs::remove_file(&draft);
    let file = File::create_new(&draft).map_err(unwritten)?;
    let mut out = BufWriter::new(file);
    let done = write(&mut out).and_then(|done| {
        let file = out.into_inner().map_err(|cause| unwritten(cause.into_error()))?;
        if let Some(old) = old {
            file.set_permissions(old.permissions()).map_err(unwritten)?;
        }
        // Before it has the name, or a crash may leave the name with nothing behind it.
        file.sync_all().and_then(|()| fs::rename(&draft, &there)).map_err(unwritten)?;
        Ok(done)
    });
    if done.is_err() {
        // What could not be put in its place is not left behind.
        let _ = fs::remove_file(&draft);
    }
    done
}

/// Waits until no other process is at changing a file of this directory, and keeps them waiting until the answer is dropped.
/// Only those that ask wait; where the file system has no locks, nobody does.
pub(crate) fn turn(path: &Path) -> Option<File> {
    // A file that is put in the place of another is not the one that was locked, but its directory stays.
    let there = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = File::open(directory(&there)).ok()?;
    directory.lock().ok()?;
    Some(directory)
}

/// Whether this is a file that a run is recorded in, which nothing could make again.
fn is_logged(path: &Path) -> bool {
    let named = path.ends_with("run.json") || path.extension().is_some_and(|it| it == "jsonl");
    named && path.exists() && RunLog::open(directory(path)).is_ok()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn unwritten(path: &Path, cause: io::Error) -> Error {
    let error = Error::file("write", path, cause);
    if error.is_permission_denied() {
        return error.cure(
            "write where you may make files: a new one is made beside the old, and takes its place",
        );
    }
    error
}

/// A file beside this one.
fn draft(path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        return Err(Error::invalid(format!(
            "`{}` is no name of a file: it is a directory",
            path.display()
        ))
        .cure("name a file in it"));
    }
    let directory = directory(path);
    if !directory.is_dir() {
        return Err(Error::absent(format!("there is no directory `{}`", directory.display()))
            .cure("make it, or write the file elsewhere"));
    }
    match path.file_name() {
        Some(name) => {
            Ok(directory.join(format!(".{}.{}", name.to_string_lossy(), std::process::id())))
        }
        None => Err(Error::invalid(format!("`{}` is no name of a file", path.display()))
            .cure("give the file's own name")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_told_from_a_name_and_a_refused_right_has_a_cure() {
        let directory = tempfile::tempdir().unwrap();
        let refused = put(directory.path(), "new").unwrap_err();
        assert!(refused.what().ends_with("is no name of a file: it is a directory"), "{refused}");
        let refused = unwritten(Path::new("a"), io::ErrorKind::PermissionDenied.into());
        assert!(refused.remedy().unwrap().starts_with("write where you may"), "{refused}");
        assert_eq!(unwritten(Path::new("a"), io::ErrorKind::StorageFull.into()).remedy(), None);
    }

    fn put(path: &Path, text: &str) -> Result<()> {
        replace(path, |file| {
            file.write_all(text.as_bytes()).map_err(|cause| Error::file("write", path, cause))
        })
    }

    #[test]
    fn a_link_in_the_place_of_the_draft_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("card.md"), directory.path().join("other"));
        fs::write(&other, "mine").unwrap();
        symlink(&other, draft(&path).unwrap()).unwrap();
        put(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_to_nothing_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.md");
        symlink("nothing", &path).unwrap();
        let refused = put(&path, "new").unwrap_err();
        assert!(refused.what().ends_with("is a link to nothing"), "{refused}");
        assert!(path.is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
