//! protocol.md as data: its sections, tables and hex examples. Knows Markdown, and nothing of the protocol.

/// The document, cut into what the tests look at.
pub(crate) struct Document {
    /// Numbers of the headings, such as `4.10`.
    pub(crate) sections: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) examples: Vec<Example>,
    /// All lines outside of tables and fenced blocks.
    pub(crate) prose: Vec<String>,
}

/// A table with the line of text above it.
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A block fenced as `hex` with the line of text above it.
pub(crate) struct Example {
    pub(crate) section: String,
    pub(crate) caption: String,
    /// What stands between the fences.
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    pub(crate) fn read() -> Self {
        Self::parse(include_str!("../../../protocol.md"))
    }

    fn parse(text: &str) -> Self {
        let mut document = Self { sections: Vec::new(), tables: Vec::new(), examples: Vec::new(), prose: Vec::new() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let caption = document.prose.iter().rfind(|line| !line.is_empty()).cloned().unwrap_or_default();
            if let Some(language) = line.strip_prefix("```") {
                let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                if language == "hex" {
                    document.examples.push(Example::new(document.section(), caption, &block));
                }
            } else if line.starts_with('|') {
                let (columns, mut rows) = (cells(line), Vec::new());
                while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                    rows.push(cells(row));
                }
                rows.remove(0); // |---|---|
                assert!(rows.iter().all(|row| row.len() == columns.len()), "under {caption:?} a row has another width");
                document.tables.push(Table { caption, columns, rows });
            } else {
                if line.starts_with('#') {
                    let number = line.trim_start_matches('#').split_whitespace().next().unwrap_or_default();
                    document.sections.push(number.trim_end_matches('.').to_owned());
                }
                document.prose.push(line.to_owned());
            }
        }
        document
    }

    fn section(&self) -> String {
        self.sections.last().cloned().unwrap_or_default()
    }

    /// The one table with these columns.
    pub(crate) fn table(&self, columns: &[&str]) -> &Table {
        let mut found = self.tables.iter().filter(|table| table.columns == columns);
        let table = found.next().unwrap_or_else(|| panic!("no table has the columns {columns:?}"));
        assert!(found.next().is_none(), "two tables have the columns {columns:?}");
        table
    }

    /// The one table whose caption starts like this.
    pub(crate) fn table_under(&self, caption: &str) -> &Table {
        let mut found = self.tables.iter().filter(|table| table.caption.starts_with(caption));
        let table = found.next().unwrap_or_else(|| panic!("no table under {caption:?}"));
        assert!(found.next().is_none(), "two tables under {caption:?}");
        table
    }
}

impl Example {
    fn new(section: String, caption: String, lines: &[&str]) -> Self {
        let digits = lines.iter().map(|line| line.split('#').next().unwrap_or_default());
        let bytes = unhex(&digits.collect::<Vec<_>>().join(" "));
        let text = lines.iter().map(|line| format!("{line}\n")).collect();
        Self { section, caption, text, bytes }
    }

    /// The first word of the caption between backticks: the message.
    pub(crate) fn name(&self) -> &str {
        quoted(&self.caption).first().copied().unwrap_or_default()
    }
}

/// What stands between backticks.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Bytes written as two hexadecimal digits each, with or without space or backticks between them.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '`')
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{c:?} in {text:?} is not a hexadecimal digit")))
        .collect();
    assert!(digits.len().is_multiple_of(2), "{text:?} has half a byte");
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}
