//! IDX, the format of MNIST and Fashion-MNIST: four files in a directory, gzipped or not.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::Result;
use crate::images::Images;

/// The first four bytes of a file of bytes in one dimension and in three.
const LABELS: u32 = 0x0801;
const IMAGES: u32 = 0x0803;

/// The images for training and those for test, from `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
/// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte` in `directory`; `.gz` may follow each name.
///
/// # Errors
///
/// If a file is missing or is not what its name says; the error names the file and the byte.
pub fn read(directory: &Path) -> Result<(Images, Images)> {
    let part = |name: &str| {
        let images = File::open(directory, &format!("{name}-images-idx3-ubyte"))?;
        let labels = File::open(directory, &format!("{name}-labels-idx1-ubyte"))?;
        images.with(&labels)
    };
    Ok((part("train")?, part("t10k")?))
}

/// A file's bytes, unpacked, and what to call it in an error.
struct File {
    name: String,
    bytes: Vec<u8>,
}

impl File {
    fn open(directory: &Path, name: &str) -> Result<File> {
        let mut path = directory.join(name);
        let mut read = fs::read(&path);
        if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            path = directory.join(format!("{name}.gz"));
            read = fs::read(&path);
        }
        let name = format!("`{}`", path.display());
        let raw = read.map_err(|error| format!("cannot read {name}, nor without .gz: {error}"))?;
        let mut bytes = raw;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let packed = std::mem::take(&mut bytes);
            let unpacked = GzDecoder::new(&packed[..]).read_to_end(&mut bytes);
            unpacked.map_err(|error| {
                format!("{name} does not unpack after byte {}: {error}", bytes.len())
            })?;
        }
        Ok(File { name, bytes })
    }

    fn with(&self, labels: &File) -> Result<Images> {
        let ([count, height, width], pixels) = self.parse(IMAGES)?;
        let ([labelled], classes) = labels.parse(LABELS)?;
        if count != labelled {
            return Err(format!(
                "{} holds {count} images, {} holds {labelled} labels",
                self.name, labels.name
            )
            .into());
        }
        let pixels = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        Images::new(height, width, pixels, classes.to_vec())
            .map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// The sizes of the `D` dimensions, and the values.
    fn parse<const D: usize>(&self, magic: u32) -> Result<([usize; D], &[u8])> {
        let number = |place: usize| {
            let bytes = self.bytes.get(place..).and_then(|rest| rest.first_chunk());
            let bytes = bytes.ok_or_else(|| {
                format!("{} ends at byte {}, in its header", self.name, self.bytes.len())
            })?;
            Ok::<u32, String>(u32::from_be_bytes(*bytes))
        };
        let found = number(0)?;
        if found != magic {
            return Err(
                format!("{}, byte 0: {found:#010x} instead of {magic:#010x}", self.name).into()
            );
        }
        let mut sizes = [0; D];
        for (dimension, size) in sizes.iter_mut().enumerate() {
            *size = usize::try_from(number(4 + 4 * dimension)?)?;
        }
        let (header, values) = (4 + 4 * D, &self.bytes[4 + 4 * D..]);
        let said = sizes.iter().try_fold(1, |product: usize, &size| product.checked_mul(size));
        if said != Some(values.len()) {
            let (name, found) = (&self.name, values.len());
            return Err(format!(
                "{name}: {found} values after byte {header}, but its header says {sizes:?}"
            )
            .into());
        }
        Ok((sizes, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// A directory with two images of 1 × 3 pixels for training and one for test, removed when dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path =
                std::env::temp_dir().join(format!("ergometer-idx-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let directory = Directory(path);
            directory.write(
                "train-images-idx3-ubyte",
                &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 51, 255, 255, 0, 0],
            );
            directory.write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 9, 4]);
            directory.write(
                "t10k-images-idx3-ubyte",
                &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 255, 0, 0],
            );
            directory.write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 4]);
            directory
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.0.join(name), bytes).unwrap();
        }

        fn error(&self) -> String {
            read(&self.0).unwrap_err().to_string()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn gzipped_files_read_like_plain_ones() {
        let directory = Directory::new("gz");
        let plain = read(&directory.0).unwrap();
        assert_eq!(
            plain.0,
            Images::new(1, 3, vec![0.0, 0.2, 1.0, 1.0, 0.0, 0.0], vec![9, 4]).unwrap()
        );
        assert_eq!(plain.1.len(), 1);
        for entry in fs::read_dir(&directory.0).unwrap() {
            let path = entry.unwrap().path();
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&fs::read(&path).unwrap()).unwrap();
            fs::write(path.with_extension("gz"), packed.finish().unwrap()).unwrap();
            fs::remove_file(path).unwrap();
        }
        assert_eq!(read(&directory.0).unwrap(), plain);
    }

    #[test]
    fn a_bad_file_is_named_with_the_place() {
        let directory = Directory::new("bad");
        directory.write("t10k-labels-idx1-ubyte", &[0, 0, 8, 3, 0, 0, 0, 1, 4]);
        assert!(
            directory
                .error()
                .ends_with("t10k-labels-idx1-ubyte`, byte 0: 0x00000803 instead of 0x00000801")
        );
        directory.write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0]);
        assert!(
            directory.error().ends_with("t10k-labels-idx1-ubyte` ends at byte 6, in its header")
        );
        directory.write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 4]);
        assert!(directory.error().ends_with("1 values after byte 8, but its header says [2]"));
        directory.write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 4, 4]);
        assert!(directory.error().contains("holds 1 images"));
        fs::remove_file(directory.0.join("t10k-labels-idx1-ubyte")).unwrap();
        assert!(directory.error().contains("t10k-labels-idx1-ubyte.gz`, nor without .gz"));
    }
}
