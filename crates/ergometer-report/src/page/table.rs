//! The numbers of a chart as a [`Table`]: for those who read instead of look, and for those who want the digits.

use std::fmt::{self, Write};

use super::axis::Scale;
use super::markup::{Path, Text};

/// Columns of the data under a summary that opens.
#[derive(Debug)]
pub(super) struct Table {
    caption: String,
    path: String,
    rows: Vec<String>,
    head: String,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    head: String,
    path: String,
    factor: f64,
    cells: Vec<String>,
}

impl Table {
    /// A table of rows with these names; its columns stand in the data under `path`.
    pub(super) fn new(caption: String, path: String, head: &str, rows: Vec<String>) -> Table {
        Table { caption, path, rows, head: head.to_owned(), columns: Vec::new() }
    }

    /// A column of numbers in a unit, `times` what stands in the data.
    pub(super) fn column(
        &mut self,
        head: &str,
        path: &str,
        (scale, times): (Scale, f64),
        values: impl IntoIterator<Item = Option<f64>>,
    ) {
        let values: Vec<Option<f64>> =
            values.into_iter().map(|value| value.map(|value| value * times)).collect();
        let most = values.iter().flatten().fold(0.0_f64, |most, value| most.max(value.abs()));
        // Four digits of the largest.
        let step = if most > 0.0 { 10f64.powf(most.log10().floor() - 3.0) } else { scale.factor };
        let cell =
            |value: Option<f64>| value.map_or("—".to_owned(), |value| scale.text(value, step));
        let unit = scale.unit();
        let head = if unit.is_empty() { head.to_owned() } else { format!("{head} ({unit})") };
        let cells = values.into_iter().map(cell).collect();
        self.columns.push(Column {
            head,
            path: path.to_owned(),
            factor: times / scale.factor,
            cells,
        });
    }

    /// The table, under a line that opens it.
    pub(super) fn write(&self, f: &mut String) -> fmt::Result {
        let caption = Text(&self.caption);
        write!(
            f,
            "<details><summary>Numbers</summary><div class=\"scroll\" tabindex=\"0\"><table data-path=\"{}\"><caption>{caption}</caption><thead><tr><th>{}",
            Path(&self.path),
            Text(&self.head)
        )?;
        for Column { head, path, factor, .. } in &self.columns {
            write!(f, "<th data-column=\"{}\" data-times=\"{factor}\">{}", Path(path), Text(head))?;
        }
        // HTML needs no end of a cell or a row before the next one, and there are many.
        f.write_str("<tbody>")?;
        for (place, row) in self.rows.iter().enumerate() {
            write!(f, "<tr><th>{}", Text(row))?;
            for column in &self.columns {
                write!(f, "<td>{}", column.cells.get(place).map_or("—", String::as_str))?;
            }
        }
        f.write_str("</table></div></details>\n")
    }
}
