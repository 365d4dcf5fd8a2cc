//! A [`Table`] as a Parquet file.
//!
//! The format is that of Apache Parquet 2.x, as its `parquet.thrift` and `Encodings.md` define it: optional flat columns, plain
//! numbers, text through a dictionary, no compression. That is little enough to be written here, and readers of all the
//! format can read it.

use std::collections::BTreeMap;
use std::io::Write;

use ergometer::{Error, Result};

use super::table::{Cell, Sort, Table, unwritten};

/// Writes a table as a Parquet file: energies in joules and times in seconds as doubles, counts and moments as 64-bit integers;
/// what is not known is null, and what is no finite number NaN. The file's metadata say what `u_j` is.
///
/// Gives the lines of the logs that could not be understood; what they said is missing.
///
/// # Errors
/// If a log cannot be read, or the table not be written.
pub fn write(table: &Table, out: impl Write) -> Result<Vec<Error>> {
    let mut file = File::new(table, out);
    file.put(MAGIC)?;
    let bad = table.visit(|row| file.row(row))?;
    file.end(table)?;
    Ok(bad)
}

const MAGIC: &[u8] = b"PAR1";

/// What a reader of the columns alone does not know.
const UNCERTAINTY: &str =
    "u_j, u_net_j and domains.*.u_j are standard uncertainties (k = 1) in joules";

/// Rows that are kept in memory before they are written.
const GROUP: i64 = 65_536;

struct File<W> {
    out: W,
    written: i64,
    columns: Vec<Column>,
    /// Rows in the columns.
    rows: i64,
    /// Rows in groups that are written.
    done: i64,
    /// What the footer says of the groups that are written.
    groups: Vec<Struct>,
}

impl<W: Write> File<W> {
    fn new(table: &Table, out: W) -> File<W> {
        let columns = table.columns().into_iter().zip(table.sorts());
        let columns = columns.map(|(name, sort)| Column::new(&name, sort)).collect();
        File { out, written: 0, columns, rows: 0, done: 0, groups: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += length(bytes);
        self.out.write_all(bytes).map_err(unwritten)
    }

    fn row(&mut self, row: &[Cell]) -> Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(row) {
            column.take(cell);
        }
        self.rows += 1;
        if self.rows == GROUP { self.group() } else { Ok(()) }
    }

    /// Writes the rows that are kept.
    fn group(&mut self) -> Result<()> {
        let begun = self.written;
        let mut chunks = Vec::new();
        for place in 0..self.columns.len() {
            let column = &mut self.columns[place];
            let (dictionary, values) = column.pages(self.rows);
            let (name, sort, rows) = (column.name.clone(), column.sort, self.rows);
            *column = Column::new(&name, sort);
            let start = self.written;
            if let Some(page) = &dictionary {
                self.put(page)?;
            }
            let data = self.written;
            self.put(&values)?;
            let size = self.written - start;
            let encodings =
                if dictionary.is_some() { vec![PLAIN, RLE, DICTIONARY] } else { vec![PLAIN, RLE] };
            let mut chunk = Struct::default();
            chunk.int32(1, physical(sort));
            chunk.list(2, INT32, encodings.iter().map(|encoding| zigzag(i64::from(*encoding))));
            chunk.list(3, BINARY, [binary(name.as_bytes())]);
            chunk.int32(4, UNCOMPRESSED);
            chunk.int64(5, rows);
            chunk.int64(6, size);
            chunk.int64(7, size);
            chunk.int64(9, data);
            if dictionary.is_some() {
                chunk.int64(11, start);
            }
            let mut place = Struct::default();
            place.int64(2, start);
            place.inner(3, chunk);
            chunks.push(place.bytes());
        }
        let mut group = Struct::default();
        group.list(1, STRUCT, chunks);
        group.int64(2, self.written - begun);
        group.int64(3, self.rows);
        self.groups.push(group);
        self.done += self.rows;
        self.rows = 0;
        Ok(())
    }

    /// Writes what is left, and the footer.
    fn end(mut self, table: &Table) -> Result<()> {
        if self.rows > 0 {
            self.group()?;
        }
        let mut root = Struct::default();
        root.binary(4, b"schema");
        root.int32(5, i32::try_from(self.columns.len()).unwrap_or(i32::MAX));
        let columns = table.columns().into_iter().zip(table.sorts()).map(|(name, sort)| {
            let mut column = Struct::default();
            column.int32(1, physical(sort));
            column.int32(3, OPTIONAL);
            column.binary(4, name.as_bytes());
            if sort == Sort::Text {
                column.int32(6, UTF8);
                // The logical type of the same meaning, an empty structure in a union.
                let mut logical = Struct::default();
                logical.inner(1, Struct::default());
                column.inner(10, logical);
            }
            column.bytes()
        });
        let mut footer = Struct::default();
        footer.int32(1, 2);
        footer.list(2, STRUCT, std::iter::once(root.bytes()).chain(columns));
        footer.int64(3, self.done);
        footer.list(4, STRUCT, std::mem::take(&mut self.groups).into_iter().map(Struct::bytes));
        let mut said = Struct::default();
        said.binary(1, b"uncertainty");
        said.binary(2, UNCERTAINTY.as_bytes());
        footer.list(5, STRUCT, [said.bytes()]);
        footer.binary(6, concat!("ergometer ", env!("CARGO_PKG_VERSION")).as_bytes());
        let footer = footer.bytes();
        self.put(&footer)?;
        self.put(&u32::try_from(footer.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.put(MAGIC)?;
        self.out.flush().map_err(unwritten)
    }
}

/// The values of a column in the rows that are kept.
struct Column {
    name: String,
    sort: Sort,
    /// Whether each row has a value.
    present: Runs,
    /// Values one after the other; for text, its number in the dictionary.
    plain: Vec<u8>,
    truths: Vec<bool>,
    words: Runs,
    dictionary: BTreeMap<String, u32>,
    /// The dictionary's words in their order.
    texts: Vec<u8>,
}

impl Column {
    fn new(name: &str, sort: Sort) -> Column {
        Column {
            name: name.to_owned(),
            sort,
            present: Runs::default(),
            plain: Vec::new(),
            truths: Vec::new(),
            words: Runs::default(),
            dictionary: BTreeMap::new(),
            texts: Vec::new(),
        }
    }

    fn take(&mut self, cell: &Cell) {
        match (self.sort, cell) {
            (Sort::Text, Cell::Text(text)) => {
                let next = u32::try_from(self.dictionary.len()).unwrap_or(u32::MAX);
                let number = *self.dictionary.entry(text.clone()).or_insert_with(|| {
                    self.texts.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                    self.texts.extend(text.as_bytes());
                    next
                });
                self.words.push(number);
            }
            (Sort::Whole, Cell::Whole(count)) => self.plain.extend(count.to_le_bytes()),
            (Sort::Number, Cell::Number(number)) => self.plain.extend(number.to_le_bytes()),
            (Sort::Number, Cell::Energy(energy)) => {
                self.plain.extend(energy.as_joules().to_le_bytes());
            }
            (Sort::Truth, Cell::Truth(truth)) => self.truths.push(*truth),
            _ => return self.present.push(0),
        }
        self.present.push(1);
    }

    /// The page of the dictionary, where there is one, and that of the values.
    fn pages(&self, rows: i64) -> (Option<Vec<u8>>, Vec<u8>) {
        let present = self.present.bytes(1);
        let mut values = u32::try_from(present.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        values.extend(present);
        let words = self.dictionary.len();
        let mut dictionary = None;
        if words > 0 {
            let mut head = Struct::default();
            head.int32(1, i32::try_from(words).unwrap_or(i32::MAX));
            head.int32(2, PLAIN);
            dictionary = Some(page(DICTIONARY_PAGE, 7, head, &self.texts));
            let bits = u8::try_from((words - 1).max(1).ilog2() + 1).unwrap_or(32);
            values.push(bits);
            values.extend(self.words.bytes(bits));
        }
        values.extend(&self.plain);
        for eight in self.truths.chunks(8) {
            let bits = eight.iter().zip(0..).map(|(truth, place)| u8::from(*truth) << place);
            values.push(bits.sum());
        }
        let mut head = Struct::default();
        head.int32(1, i32::try_from(rows).unwrap_or(i32::MAX));
        head.int32(2, if words > 0 { DICTIONARY } else { PLAIN });
        head.int32(3, RLE);
        head.int32(4, RLE);
        (dictionary, page(DATA_PAGE, 5, head, &values))
    }
}

/// A page with its header, of which `field` says what is particular to its kind.
fn page(kind: i32, field: i16, head: Struct, values: &[u8]) -> Vec<u8> {
    let size = i32::try_from(values.len()).unwrap_or(i32::MAX);
    let mut header = Struct::default();
    header.int32(1, kind);
    header.int32(2, size);
    header.int32(3, size);
    header.inner(field, head);
    let mut page = header.bytes();
    page.extend(values);
    page
}

/// Numbers as runs of equal ones, the RLE half of Parquet's hybrid encoding.
#[derive(Default)]
struct Runs(Vec<(u64, u32)>);

impl Runs {
    fn push(&mut self, number: u32) {
        match self.0.last_mut() {
            Some((count, last)) if *last == number => *count += 1,
            _ => self.0.push((1, number)),
        }
    }

    fn bytes(&self, bits: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (count, number) in &self.0 {
            bytes.extend(varint(count << 1));
            bytes.extend(&number.to_le_bytes()[..usize::from(bits.div_ceil(8))]);
        }
        bytes
    }
}

// Numbers of `parquet.thrift`.
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const DICTIONARY: i32 = 8;
const DATA_PAGE: i32 = 0;
const DICTIONARY_PAGE: i32 = 2;
const UNCOMPRESSED: i32 = 0;
const OPTIONAL: i32 = 1;
const UTF8: i32 = 0;

fn physical(sort: Sort) -> i32 {
    match sort {
        Sort::Truth => 0,
        Sort::Whole => 2,
        Sort::Number => 5,
        Sort::Text => 6,
    }
}

// Types of Thrift's compact protocol.
const INT32: u8 = 5;
const INT64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A structure in Thrift's compact protocol; fields come in the order of their numbers.
#[derive(Default)]
struct Struct {
    bytes: Vec<u8>,
    last: i16,
}

impl Struct {
    fn field(&mut self, number: i16, kind: u8) {
        let step = u8::try_from(number - self.last).unwrap_or(0);
        self.bytes.push(step << 4 | kind);
        self.last = number;
    }

    fn int32(&mut self, number: i16, value: i32) {
        self.field(number, INT32);
        self.bytes.extend(zigzag(i64::from(value)));
    }

    fn int64(&mut self, number: i16, value: i64) {
        self.field(number, INT64);
        self.bytes.extend(zigzag(value));
    }

    fn binary(&mut self, number: i16, value: &[u8]) {
        self.field(number, BINARY);
        self.bytes.extend(binary(value));
    }

    fn inner(&mut self, number: i16, value: Struct) {
        self.field(number, STRUCT);
        self.bytes.extend(value.bytes());
    }

    fn list(&mut self, number: i16, kind: u8, values: impl IntoIterator<Item = Vec<u8>>) {
        let values: Vec<Vec<u8>> = values.into_iter().collect();
        self.field(number, LIST);
        match u8::try_from(values.len()) {
            Ok(count) if count < 15 => self.bytes.push(count << 4 | kind),
            _ => {
                self.bytes.push(0xf0 | kind);
                self.bytes.extend(varint(values.len() as u64));
            }
        }
        self.bytes.extend(values.into_iter().flatten());
    }

    fn bytes(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut whole = varint(bytes.len() as u64);
    whole.extend(bytes);
    whole
}

fn zigzag(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)).cast_unsigned())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
