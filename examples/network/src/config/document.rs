//! TOML files whose every mistake is named with its line.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, anyhow, bail};
use toml::de::{DeTable, DeValue};

/// A TOML file as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    name: String,
    text: String,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no UTF-8 or larger than 16 MiB.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let mut text = String::new();
        file.take(BYTES_MAX.saturating_add(1))
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {name} as text"))?;
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > BYTES_MAX) {
            bail!("{name} is larger than 16 MiB, which no such file needs to be");
        }
        Ok(Self { name, text })
    }

    /// A document from somewhere else than a file, with a name for errors.
    #[cfg(test)]
    pub(crate) fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The document as a table of keys.
    ///
    /// # Errors
    /// The line of the first mistake.
    pub(crate) fn parse(&self) -> anyhow::Result<Table<'_>> {
        let table = DeTable::parse(&self.text).map_err(|error| {
            let line = self.line_at(error.span().map_or(0, |span| span.start));
            self.error(line, error.message())
        })?;
        Ok(Table::new(self, None, 1, table.into_inner()))
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    fn error(&self, line: usize, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}, line {line}: {what}", self.name)
    }
}

/// A table of keys, which are taken out one by one; what nobody took at the end is a mistake.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    document: &'d Document,
    heading: Option<String>,
    line: usize,
    entries: BTreeMap<String, Value<'d>>,
    known: Vec<String>,
}

impl<'d> Table<'d> {
    fn new(document: &'d Document, heading: Option<String>, line: usize, table: DeTable<'d>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let line = document.line_at(key.span().start);
            let key = key.into_inner().into_owned();
            (key.clone(), Value { document, key, line, value: value.into_inner() })
        });
        Self { document, heading, line, entries: entries.collect(), known: Vec::new() }
    }

    /// Takes the value of a key out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value<'d>> {
        self.known.push(key.to_owned());
        self.entries.remove(key)
    }

    /// Moves the value of `alias` in the table `heading` to `key` of this table: two names of one setting.
    ///
    /// # Errors
    /// If both are there.
    pub(crate) fn alias(&mut self, key: &str, heading: &str, alias: &str) -> anyhow::Result<()> {
        let Some(Value { document, value: DeValue::Table(table), .. }) = self.entries.get_mut(heading) else {
            return Ok(());
        };
        let document = *document;
        let Some(line) = table.keys().find(|key| key.get_ref() == alias).map(|key| document.line_at(key.span().start))
        else {
            return Ok(());
        };
        let Some(value) = table.remove(alias) else { return Ok(()) };
        let value = Value { document, key: alias.to_owned(), line, value: value.into_inner() };
        if let Some(first) = self.entries.get(key) {
            return Err(value.error(format_args!("the same as `{key}` on line {}; give one of them", first.line)));
        }
        self.entries.insert(key.to_owned(), value);
        Ok(())
    }

    /// Whether nothing is left in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a key to those that an error about an unknown one names.
    pub(crate) fn mention(&mut self, key: &str) {
        self.known.push(key.to_owned());
    }

    /// An error about the whole table.
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> anyhow::Error {
        self.document.error(self.line, what)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// The first key, by its line, that nobody has taken.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Some(stray) = self.entries.values().min_by_key(|value| value.line) else { return Ok(()) };
        let place = self.heading.map(|heading| format!(" in {heading}")).unwrap_or_default();
        let alike = |known: &&String| normal(known) == normal(&stray.key);
        let hint = match self.known.iter().find(alike) {
            Some(known) => format!("write `{known}`"),
            None => format!("known here: {}", self.known.join(", ")),
        };
        Err(self.document.error(stray.line, format_args!("unknown key `{}`{place}; {hint}", stray.key)))
    }
}

/// One value with its key and line.
#[derive(Debug)]
pub(crate) struct Value<'d> {
    document: &'d Document,
    key: String,
    line: usize,
    value: DeValue<'d>,
}

impl<'d> Value<'d> {
    /// The line on which its key is.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// An error about this value.
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> anyhow::Error {
        self.document.error(self.line, format_args!("`{}`: {what}", self.key))
    }

    /// A string, an integer or a boolean, as text.
    ///
    /// # Errors
    /// If it is anything else.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        if let DeValue::String(text) = &self.value {
            return Ok(text.clone().into_owned());
        }
        if let DeValue::Integer(number) = &self.value {
            // Hexadecimal and the like become decimal, so that flags and files are read by the same parser.
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            return parsed.map(|number| number.to_string()).map_err(|_| self.error("this number is too large"));
        }
        if let DeValue::Boolean(truth) = &self.value {
            return Ok(truth.to_string());
        }
        Err(self.error("expected a text, a whole number, true or false"))
    }

    /// Reads the value as something that can also be given on the command line.
    ///
    /// # Errors
    /// What may be written instead, with the line.
    pub(crate) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> anyhow::Result<T> {
        let text = self.text()?;
        read(&text).map_err(|expected| self.error(format_args!("`{text}` cannot be used: {expected}")))
    }

    /// The items of an array; a single value counts as an array of one.
    ///
    /// # Errors
    /// None of its own; items are checked when they are read.
    pub(crate) fn items(self) -> Vec<Self> {
        let Self { document, key, line, value } = self;
        if let DeValue::Array(items) = value {
            let items = items.into_iter().map(|item| {
                let line = document.line_at(item.span().start);
                Value { document, key: key.clone(), line, value: item.into_inner() }
            });
            return items.collect();
        }
        vec![Value { document, key, line, value }]
    }

    /// A table.
    ///
    /// # Errors
    /// If it is anything else.
    pub(crate) fn table(self) -> anyhow::Result<Table<'d>> {
        let Self { document, key, line, value } = self;
        if let DeValue::Table(table) = value {
            return Ok(Table::new(document, Some(format!("[{key}]")), line, table));
        }
        Err(document.error(line, format_args!("`{key}`: expected a table, [{key}] on a line of its own")))
    }
}

/// What is left of a key when spelling does not count.
fn normal(key: &str) -> String {
    key.to_ascii_lowercase().replace('_', "-")
}

/// Far above any configuration or plan.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "listen = \"127.0.0.1:0\"\npeer = [\n  \"a:1\",\n  \"b:2\",\n]\nslots = 0x10\n\n[sync]\nfan_out = 3\n";

    #[test]
    fn values_come_with_their_lines() {
        let document = Document::of("broker.toml", TEXT);
        let mut table = document.parse().unwrap();
        assert_eq!(table.take("listen").unwrap().text().unwrap(), "127.0.0.1:0");
        let peers = table.take("peer").unwrap().items();
        assert_eq!(
            peers.iter().map(|peer| (peer.line(), peer.text().unwrap())).collect::<Vec<_>>(),
            [(3, "a:1".to_owned()), (4, "b:2".to_owned())]
        );
        assert_eq!(table.take("slots").unwrap().text().unwrap(), "16");
        let mut sync = table.take("sync").unwrap().table().unwrap();
        assert_eq!(sync.take("fan_out").unwrap().line(), 9);
        sync.finish().unwrap();
        table.finish().unwrap();
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let document = Document::of("broker.toml", TEXT);
        let mut table = document.parse().unwrap();
        let mut sync = table.take("sync").unwrap().table().unwrap();
        assert!(sync.take("interval").is_none());
        assert!(sync.take("fan-out").is_none());
        let error = sync.finish().unwrap_err().to_string();
        assert_eq!(error, "broker.toml, line 9: unknown key `fan_out` in [sync]; write `fan-out`");
        assert!(table.take("peers").is_none());
        let error = table.finish().unwrap_err().to_string();
        assert!(error.starts_with("broker.toml, line 1: unknown key `listen`; known here: sync, peers"), "{error}");

        let broken = Document::of("x.toml", "a = 1\nb = = 2\n");
        let error = broken.parse().unwrap_err().to_string();
        assert!(error.starts_with("x.toml, line 2: "), "{error}");
        let twice = Document::of("x.toml", "a = 1\n\na = 2\n");
        let error = twice.parse().unwrap_err().to_string();
        assert!(error.starts_with("x.toml, line 3: "), "{error}");

        let document = Document::of("x.toml", "a = 1.5\nb = 2\n");
        let mut table = document.parse().unwrap();
        let error = table.take("a").unwrap().text().unwrap_err().to_string();
        assert_eq!(error, "x.toml, line 1: `a`: expected a text, a whole number, true or false");
        assert!(table.take("b").unwrap().table().is_err());
        let document = Document::of("x.toml", "\nfor = \"soon\"");
        let error = document.parse().unwrap().take("for").unwrap().parse(crate::duration::parse).unwrap_err();
        assert!(error.to_string().starts_with("x.toml, line 2: `for`: `soon` cannot be used: expected"), "{error}");
    }
}
