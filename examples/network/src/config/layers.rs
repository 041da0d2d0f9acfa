//! Which of several places says what a setting is.

use std::{ffi::OsString, fmt, fmt::Write as _, path::PathBuf};

use super::{Knob, Plain, Table};
use crate::{exit::Failure, keys};

/// Where a setting comes from: the first of these that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Flag,
    Environment(String),
    File { name: String, line: usize },
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(variable) => write!(f, "environment, {variable}"),
            Self::File { name, line } => write!(f, "{name}, line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Settles one setting after the other, and keeps what came of it for `--print-config`.
pub(crate) struct Layers<'d> {
    environment: Box<Environment>,
    file: Option<(String, Table<'d>)>,
    /// Keys in tables of the file that are other names of settings outside of them.
    aliases: Vec<(&'static str, &'static str)>,
    settled: String,
}

/// The value of a variable, if it is set.
type Environment = dyn Fn(&str) -> Option<OsString>;

impl<'d> Layers<'d> {
    /// Flags, this process's environment and perhaps a file with its name.
    pub(crate) fn new(file: Option<(String, Table<'d>)>) -> Self {
        Self {
            environment: Box::new(|variable| std::env::var_os(variable)),
            file,
            aliases: Vec::new(),
            settled: String::new(),
        }
    }

    #[cfg(test)]
    fn with_environment(mut self, pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))).collect();
        self.environment =
            Box::new(move |wanted| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone()));
        self
    }

    /// A setting that always has a value.
    ///
    /// # Errors
    /// If the environment or the file says something that cannot be.
    pub(crate) fn one<T: Plain>(&mut self, key: &str, flag: Option<&T>, default: T) -> Result<T, Failure> {
        let (value, source) = self.find(key, flag)?.unwrap_or((default, Source::Default));
        self.note(key, &value.show(), &source);
        Ok(value)
    }

    /// A setting that need not have a value; `absent` says what that means.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub(crate) fn optional<T: Plain>(
        &mut self,
        key: &str,
        flag: Option<&T>,
        absent: &str,
    ) -> Result<Option<T>, Failure> {
        let found = self.find(key, flag)?;
        match &found {
            Some((value, source)) => self.note(key, &value.show(), source),
            None => {
                // A String takes everything.
                let _ = writeln!(self.settled, "# {key}: {absent}  # default");
            }
        }
        Ok(found.map(|(value, _)| value))
    }

    /// A setting that can have several values: the flag repeated, an array, or a list with commas in the environment.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub(crate) fn many<T: Plain>(&mut self, key: &str, flags: &[T]) -> Result<Vec<T>, Failure> {
        self.many_or(key, flags, Vec::new())
    }

    /// The same with values if nobody gives any.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub(crate) fn many_or<T: Plain>(&mut self, key: &str, flags: &[T], default: Vec<T>) -> Result<Vec<T>, Failure> {
        let (values, source) = self.find_many(key, flags)?.unwrap_or((default, Source::Default));
        let shown: Vec<String> = values.iter().map(T::show).collect();
        self.note(key, &format!("[{}]", shown.join(", ")), &source);
        Ok(values)
    }

    /// The directory of keys.
    ///
    /// # Errors
    /// As [`one`](Self::one); or if nobody says where it is and there is no place for the default one.
    pub(crate) fn keys(&mut self, flag: Option<&PathBuf>) -> Result<PathBuf, Failure> {
        match keys::default_dir() {
            Some(default) => self.one("keys", flag, default),
            None => keys::dir(self.optional("keys", flag, "nowhere, since there is no home directory")?),
        }
    }

    /// The same setting under another name, in a table of the file; only the file knows it by this name.
    ///
    /// # Errors
    /// If the file says both.
    pub(crate) fn alias(&mut self, key: &str, heading: &'static str, alias: &'static str) -> Result<(), Failure> {
        self.aliases.push((heading, alias));
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        file.alias(key, heading, alias).map_err(Failure::from)
    }

    /// Settings of a table of the file; flags and the environment do not know them.
    ///
    /// # Errors
    /// The line of an unknown key or of a value that cannot be.
    pub(crate) fn table<C>(&mut self, heading: &str, knobs: &[Knob<C>], config: &mut C) -> Result<(), Failure> {
        let _ = writeln!(self.settled, "\n[{heading}]");
        let mut table = None;
        if let Some((name, file)) = &mut self.file
            && let Some(value) = file.take(heading)
        {
            let mut inner = value.table()?;
            for (_, alias) in self.aliases.iter().filter(|(of, _)| *of == heading) {
                inner.mention(alias);
            }
            table = Some((name.clone(), inner));
        }
        for knob in knobs {
            let mut source = Source::Default;
            if let Some((name, table)) = &mut table
                && let Some(value) = table.take(knob.name)
            {
                value.parse(|text| knob.set(config, text))?;
                source = Source::File { name: name.clone(), line: value.line() };
            }
            let shown = knob.show(config);
            self.note(knob.name, &shown, &source);
        }
        table.map_or(Ok(()), |(_, table)| table.finish()).map_err(Failure::from)
    }

    /// What was settled, as a file that says the same; each setting with its source.
    ///
    /// # Errors
    /// If the file says something that nobody asked for.
    pub(crate) fn finish(self) -> Result<String, Failure> {
        if let Some((_, file)) = self.file {
            file.finish()?;
        }
        Ok(self.settled)
    }

    fn note(&mut self, key: &str, shown: &str, source: &Source) {
        let _ = writeln!(self.settled, "{key} = {shown}  # {source}");
    }

    fn find<T: Plain>(&mut self, key: &str, flag: Option<&T>) -> Result<Option<(T, Source)>, Failure> {
        // Taken from the file in any case: a key that a flag overrules is not unknown, and must make sense.
        let in_file = self.take(key);
        let in_file = match &in_file {
            Some((name, value)) => {
                Some((value.parse(T::read)?, Source::File { name: name.clone(), line: value.line() }))
            }
            None => None,
        };
        if let Some(value) = flag {
            return Ok(Some((value.clone(), Source::Flag)));
        }
        if let Some((variable, text)) = self.variable(key)? {
            let value = T::read(&text).map_err(|expected| unusable(&variable, &text, &expected))?;
            return Ok(Some((value, Source::Environment(variable))));
        }
        Ok(in_file)
    }

    fn find_many<T: Plain>(&mut self, key: &str, flags: &[T]) -> Result<Option<(Vec<T>, Source)>, Failure> {
        let in_file = match self.take(key) {
            Some((name, value)) => {
                let source = Source::File { name, line: value.line() };
                let values: anyhow::Result<Vec<T>> = value.items().iter().map(|item| item.parse(T::read)).collect();
                Some((values?, source))
            }
            None => None,
        };
        if !flags.is_empty() {
            return Ok(Some((flags.to_vec(), Source::Flag)));
        }
        if let Some((variable, text)) = self.variable(key)? {
            let items = text.split(',').map(str::trim);
            let values: Result<Vec<T>, String> = items.map(T::read).collect();
            let values = values.map_err(|expected| unusable(&variable, &text, &expected))?;
            return Ok(Some((values, Source::Environment(variable))));
        }
        Ok(in_file)
    }

    fn take(&mut self, key: &str) -> Option<(String, super::Value<'d>)> {
        let (name, file) = self.file.as_mut()?;
        Some((name.clone(), file.take(key)?))
    }

    fn variable(&self, key: &str) -> Result<Option<(String, String)>, Failure> {
        let variable = format!("RECONVENE_{}", key.to_ascii_uppercase().replace('-', "_"));
        let Some(text) = (self.environment)(&variable) else { return Ok(None) };
        let text = text.into_string().map_err(|_| unusable(&variable, "…", "expected text"))?;
        // Set to nothing means not set, so that a script can take a setting away.
        Ok((!text.is_empty()).then_some((variable, text)))
    }
}

impl fmt::Debug for Layers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("file", &self.file).field("settled", &self.settled).finish_non_exhaustive()
    }
}

fn unusable(variable: &str, text: &str, expected: &str) -> Failure {
    Failure::usage(format!("invalid value '{text}' of the environment variable {variable}: {expected}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Document, lifecycle_knobs};

    fn file(text: &str) -> Document {
        Document::of("broker.toml", text)
    }

    fn layers<'d>(document: &'d Document, environment: &[(&str, &str)]) -> Layers<'d> {
        let table = document.parse().unwrap();
        Layers::new(Some((document.name().to_owned(), table))).with_environment(environment)
    }

    fn message(result: Result<impl fmt::Debug, Failure>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn the_first_place_that_says_something_wins() {
        let document = file("sync-interval = \"3s\"\nname = \"from-file\"\nslots = 4\n");
        let environment = [("RECONVENE_SYNC_INTERVAL", "2s"), ("RECONVENE_NAME", "from-environment")];
        let mut layers = layers(&document, &environment);
        let second = Duration::from_secs(1);
        assert_eq!(layers.one("sync-interval", Some(&second), second * 60).unwrap(), second);
        assert_eq!(layers.optional::<String>("name", None, "").unwrap().unwrap(), "from-environment");
        assert_eq!(layers.one::<u32>("slots", None, 1).unwrap(), 4);
        assert_eq!(layers.one::<u32>("cpu", None, 1_000).unwrap(), 1_000);
        assert_eq!(layers.optional::<Duration>("for", None, "until Ctrl-C").unwrap(), None);
        assert_eq!(
            layers.finish().unwrap(),
            "sync-interval = \"1s\"  # flag\n\
             name = \"from-environment\"  # environment, RECONVENE_NAME\n\
             slots = 4  # broker.toml, line 3\n\
             cpu = 1000  # default\n\
             # for: until Ctrl-C  # default\n"
        );
    }

    #[test]
    fn a_repeated_flag_is_an_array_in_a_file_and_a_list_in_the_environment() {
        let document = file("tag = [\"a\", \"b\"]\npeer = \"one\"\n");
        let mut layers = layers(&document, &[("RECONVENE_PEER", "x, y"), ("RECONVENE_TAG", "")]);
        assert_eq!(layers.many::<String>("tag", &[]).unwrap(), ["a", "b"]);
        assert_eq!(layers.many::<String>("peer", &[]).unwrap(), ["x", "y"]);
        assert_eq!(layers.many("data", &["z".to_owned()]).unwrap(), ["z"]);
    }

    #[test]
    fn mistakes_are_named_wherever_they_are() {
        let document = file("slots = \"many\"\nlisten = 1\n\n[lifecycle]\nlease = \"half\"\n");
        let mut in_file = layers(&document, &[("RECONVENE_CPU", "much")]);
        let error = message(in_file.one::<u32>("slots", Some(&2), 1));
        assert!(error.starts_with("broker.toml, line 1: `slots`: `many` cannot be used"), "{error}");
        let error = message(in_file.one::<u32>("cpu", None, 1));
        assert!(error.starts_with("invalid value 'much' of the environment variable RECONVENE_CPU"), "{error}");
        let mut config = reconvene_broker::Config::new(reconvene_resolve::StrategyKind::EmergencyFirst);
        let error = message(in_file.table("lifecycle", &lifecycle_knobs(), &mut config));
        assert!(error.starts_with("broker.toml, line 5: `lease`: `half` cannot be used"), "{error}");
        let error = message(in_file.finish());
        assert!(error.starts_with("broker.toml, line 2: unknown key `listen`"), "{error}");
    }

    #[test]
    fn one_setting_may_have_two_names_but_not_two_values() {
        let document = file("[sync]\ninterval = \"5s\"\nfan_out = 1\n");
        let mut once = layers(&document, &[]);
        once.alias("sync-interval", "sync", "interval").unwrap();
        let value = once.one("sync-interval", None, Duration::from_secs(60)).unwrap();
        assert_eq!(value, Duration::from_secs(5));

        let document = file("sync-interval = \"4s\"\n[sync]\ninterval = \"5s\"\n");
        let error = message(layers(&document, &[]).alias("sync-interval", "sync", "interval"));
        assert_eq!(error, "broker.toml, line 3: `interval`: the same as `sync-interval` on line 1; give one of them");
    }
}
