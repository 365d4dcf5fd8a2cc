//! An [`EventFile`]: frames, events and values as TensorBoard reads them.
//!
//! An event file is a row of frames, each a length and an `Event` in protocol buffers, both with their CRC-32C (Castagnoli et
//! al., IEEE Transactions on Communications 41, 1993, 883–892; reflected, as in RFC 3720, appendix B.4). TensorFlow's
//! `tsl/lib/io/record_writer.h`, and TensorBoard's `compat/proto/event.proto` and `plugins/hparams/plugin_data.proto`, say so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::{Error, Result, Timestamp};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 16;

/// How long an event waits to be written, where no epoch ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file of whole frames.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    /// What is written goes behind its end.
    file: File,
    /// The bytes that it has.
    written: u64,
}

impl EventFile {
    /// Makes the file anew, at a wall time in seconds since 1970, and its directory. What else has it open goes on with the old
    /// one, which has no name any more.
    pub(super) fn create(path: &Path, wall_time: f64) -> Result<EventFile> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|cause| Error::file("make", directory, cause))?;
        }
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("replace", path, cause));
            }
            _ => {}
        }
        let file = File::options().append(true).create_new(true).open(path);
        let file = file.map_err(|cause| Error::file("make", path, cause))?;
        let mut file = EventFile { path: path.to_owned(), file, written: 0 };
        let (mut first, mut frames) = (Message::default(), Frames::default());
        first.double(1, wall_time);
        first.text(3, "brain.Event:2");
        frames.frame(&first);
        file.append(&frames.buffer)?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes frames. What cannot be written whole is cut off again: readers give up at half a frame.
    pub(super) fn append(&mut self, frames: &[u8]) -> Result<()> {
        let written = self.written;
        let done = write_or_cut(&mut self.file, frames, |file| {
            let _ = file.set_len(written);
        });
        if let Err(cause) = done {
            return Err(Error::file("write", &self.path, cause));
        }
        self.written += frames.len() as u64;
        Ok(())
    }
}

/// Writes all, or else cuts off what got there of it.
fn write_or_cut<W: Write>(out: &mut W, frames: &[u8], cut: impl FnOnce(&mut W)) -> io::Result<()> {
    out.write_all(frames).inspect_err(|_| cut(out))
}

/// Events that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// The end of the first window in it that waits.
    since: Option<Timestamp>,
}

impl Frames {
    /// Adds an event at a wall time, in seconds since 1970.
    pub(super) fn add(&mut self, wall_time: f64, step: u64, values: &Values) {
        let mut event = Message::default();
        event.double(1, wall_time);
        event.integer(2, step);
        event.message(5, &values.0);
        self.frame(&event);
    }

    fn frame(&mut self, event: &Message) {
        let length = (event.0.len() as u64).to_le_bytes();
        self.buffer.extend(length);
        self.buffer.extend(masked(checksum(&length)).to_le_bytes());
        self.buffer.extend(&event.0);
        self.buffer.extend(masked(checksum(&event.0)).to_le_bytes());
    }

    /// True if something has waited for long at `now`.
    pub(super) fn are_due(&mut self, now: Timestamp) -> bool {
        let since = *self.since.get_or_insert(now);
        now.since(since) >= PATIENCE
    }

    /// True if much has gathered.
    pub(super) fn are_many(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    /// What has gathered; `None` if that is nothing.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.since = None;
        Some(std::mem::take(&mut self.buffer)).filter(|frames| !frames.is_empty())
    }
}

/// The values of one event.
#[derive(Default)]
pub(super) struct Values(Message);

impl Values {
    /// A scalar. A tensor of 64 bits would be more exact, and is not shown by TensorBoard's data server. What is no finite number
    /// is NaN, as the log has no other either.
    pub(super) fn scalar(&mut self, tag: &str, number: f64) {
        self.described_scalar(tag, number, "");
    }

    /// A scalar, with what its series is; a reader keeps what the first one says.
    #[expect(clippy::cast_possible_truncation, reason = "the format's precision")]
    pub(super) fn described_scalar(&mut self, tag: &str, number: f64, description: &str) {
        let mut value = Message::default();
        value.text(1, &one_line(tag));
        value.float(2, if number.is_finite() { number as f32 } else { f32::NAN });
        if !description.is_empty() {
            let mut metadata = metadata("scalars", &Message::default(), 1);
            metadata.text(3, description);
            value.message(9, &metadata);
        }
        self.0.message(1, &value);
    }

    /// A text of the text plugin, in Markdown: a tensor of one string.
    pub(super) fn markdown(&mut self, tag: &str, text: &str) {
        let mut tensor = tensor(7, 1);
        tensor.text(8, text);
        let mut value = Message::default();
        value.text(1, tag);
        value.message(8, &tensor);
        value.message(9, &metadata("text", &Message::default(), 2));
        self.0.message(1, &value);
    }

    /// The start of a session of the hyper-parameters plugin, in wall time, with what its run differs in from others.
    pub(super) fn session_start(
        &mut self,
        group: &str,
        at: f64,
        parameters: &BTreeMap<String, String>,
    ) {
        let mut session = Message::default();
        for (key, value) in parameters {
            let mut entry = Message::default();
            entry.text(1, &one_line(key));
            entry.message(2, &hyperparameter(value));
            session.message(1, &entry);
        }
        session.text(4, group);
        session.double(5, at);
        self.session("_hparams_/session_start_info", 3, &session);
    }

    /// The end of a session, in wall time, and whether it was as planned.
    pub(super) fn session_end(&mut self, at: f64, planned: bool) {
        let mut session = Message::default();
        session.integer(1, if planned { 1 } else { 2 });
        session.double(2, at);
        self.session("_hparams_/session_end_info", 4, &session);
    }

    /// A value of the hyper-parameters plugin: all of it is metadata, beside the tensor that some readers ask for.
    fn session(&mut self, tag: &str, field: u64, content: &Message) {
        let mut plugin = Message::default();
        plugin.message(field, content);
        let mut value = Message::default();
        value.text(1, tag);
        value.message(8, &tensor(1, 0));
        value.message(9, &metadata("hparams", &plugin, 2));
        self.0.message(1, &value);
    }
}

/// A tensor of one dimension, without its elements.
fn tensor(element: u64, elements: u64) -> Message {
    let (mut size, mut shape, mut tensor) =
        (Message::default(), Message::default(), Message::default());
    size.integer(1, elements);
    shape.message(2, &size);
    tensor.integer(1, element);
    tensor.message(2, &shape);
    tensor
}

/// Metadata that say which plugin a value is for, and its class: 1 is a scalar. It is 2, a tensor, also for what has none: the
/// hyper-parameters of any other class are not listed.
fn metadata(plugin: &str, content: &Message, class: u64) -> Message {
    let mut data = Message::default();
    data.text(1, plugin);
    if !content.0.is_empty() {
        data.message(2, content);
    }
    let mut metadata = Message::default();
    metadata.message(1, &data);
    metadata.integer(4, class);
    metadata
}

/// A number where it reads as one, so that the table sorts by it.
fn hyperparameter(text: &str) -> Message {
    let mut value = Message::default();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => value.double(2, number),
        _ => value.text(3, text),
    }
    value
}

/// A protocol buffer.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn integer(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn double(&mut self, field: u64, number: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(number.to_le_bytes());
    }

    fn float(&mut self, field: u64, number: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }
}

/// CRC-32C, reflected, of each byte.
const CHECKSUMS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut sum = byte;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
};

/// CRC-32C.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |sum, byte| CHECKSUMS[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ sum >> 8)
}

/// The checksum as it is stored: sums of data that holds sums are weak.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A text without control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '_' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn an_event_is_this_frame() {
        let mut values = Values::default();
        values.scalar("a", 1.5);
        let mut frames = Frames::default();
        frames.add(1.0, 300, &values);
        let payload =
            b"\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01a\x15\0\0\xc0\x3f";
        assert_eq!(frames.buffer[..8], 24_u64.to_le_bytes());
        assert_eq!(&frames.buffer[12..36], payload);
        assert_eq!(frames.buffer.len(), 40);
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let mut file = EventFile { path: PathBuf::from("events"), file: full, written: 0 };
        let error = file.append(b"frame").unwrap_err();
        assert!(error.what().starts_with("cannot write `events`"), "{error}");
        assert_eq!(file.written, 0);
    }

    /// A disk that is full behind so many bytes.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.1 - self.0.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                some => self.0.write(&bytes[..some]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn half_a_frame_is_cut_off_and_the_next_one_follows_a_whole_one() {
        let mut disk = Disk(Vec::new(), 8);
        let mut write = |frames: &[u8]| {
            let whole = disk.0.len();
            let done = write_or_cut(&mut disk, frames, |disk| disk.0.truncate(whole));
            (done.is_ok(), disk.0.clone())
        };
        assert_eq!(write(b"first"), (true, b"first".to_vec()));
        assert_eq!(write(b"second"), (false, b"first".to_vec()));
        assert_eq!(write(b"3rd"), (true, b"first3rd".to_vec()));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/events");
        let mut file = EventFile::create(&path, 1.0).unwrap();
        file.append(b"one").unwrap();
        write_or_cut(&mut file.file, b"ha", |_| ()).unwrap();
        file.file.set_len(file.written).unwrap();
        file.append(b"two").unwrap();
        assert!(fs::read(&path).unwrap().ends_with(b"onetwo"), "it goes behind the end");
    }

    #[test]
    fn what_is_no_number_is_not_a_number() {
        let bits = |number| {
            let mut values = Values::default();
            values.scalar("", number);
            let bytes = &values.0.0;
            f32::from_le_bytes(bytes[bytes.len() - 4..].try_into().unwrap())
        };
        assert!(bits(f64::NAN).is_nan() && bits(f64::INFINITY).is_nan());
        assert_eq!(bits(0.1).to_bits(), 0.1_f32.to_bits());
    }

    #[test]
    fn notes_that_read_as_numbers_are_numbers() {
        assert_eq!(hyperparameter("1e-3").0[0], 2 << 3 | 1);
        assert_eq!(hyperparameter("inf").0, b"\x1a\x03inf");
        assert_eq!(hyperparameter("adam").0, b"\x1a\x04adam");
    }
}
