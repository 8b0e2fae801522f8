//! Aligned tables, for people.

use std::io::{self, Write};

/// Which side the cells of a column keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text under headings.
pub(crate) struct Table<'a, const N: usize> {
    columns: [(&'a str, Align); N],
    rows: Vec<[String; N]>,
}

impl<'a, const N: usize> Table<'a, N> {
    pub(crate) fn new(columns: [(&'a str, Align); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Writes the headings and the rows, two spaces between columns and none at the end of a line.
    pub(crate) fn write(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let widths: [usize; N] = std::array::from_fn(|column| self.width(column));
        let headings = self.columns.map(|(heading, _)| heading.to_owned());
        for cells in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(self.columns) {
                line += &match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                };
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].as_str());
        cells.chain([self.columns[column].0]).map(|cell| cell.chars().count()).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_ends() {
        let mut table = Table::new([("NAME", Align::Left), ("BYTES", Align::Right), ("NOTE", Align::Left)]);
        table.row(["a-long-name".into(), "7".into(), String::new()]);
        table.row(["\u{f4}".into(), "123456".into(), "x".into()]);
        let mut out = Vec::new();
        table.write(&mut out).expect("memory");
        let expected = "NAME          BYTES  NOTE\na-long-name       7\n\u{f4}            123456  x\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
