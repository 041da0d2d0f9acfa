//! Reads workloads in the Standard Workload Format of the Parallel Workloads Archive, plain or compressed with gzip.
//!
//! A file is header lines that start with `;`, then one job a line: 18 numbers separated by blanks, where −1 means
//! unknown. Ids may come in any order and times and memory may carry fractions; everything else that is not the
//! format is refused with the line and the field. Numbers are held in thousandths, without floating point, so that a
//! workload maps to the same jobs on every machine.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

/// One job of a trace, in the trace's own units; `None` where the trace says −1, "unknown".
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "fields of a fixed format; tests build jobs of their own")]
pub struct SwfJob {
    /// Number of the line, the first being 1.
    pub line: u64,
    /// When the job was submitted, since the start of the trace.
    pub submit_ms: u64,
    /// How long it ran.
    pub run_ms: Option<u64>,
    /// How long its user asked for.
    pub requested_ms: Option<u64>,
    /// Processors it was given.
    pub processors: Option<u64>,
    /// Who submitted it.
    pub user: Option<u64>,
    /// The group of that user.
    pub group: Option<u64>,
    /// The part of the machine, or the site, that it ran on.
    pub partition: Option<u64>,
}

/// Why a workload was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwfError {
    /// The file could not be opened.
    #[error("cannot open the workload {}", path.display())]
    Open {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be read or unpacked.
    #[error("cannot read line {line} of the workload {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line being read.
        line: u64,
        /// What the system, or the decompressor, said.
        source: io::Error,
    },
    /// A line longer than any line of the format.
    #[error("line {line} of the workload {} is longer than {limit} bytes", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The longest line accepted.
        limit: usize,
    },
    /// A line that is not UTF-8.
    #[error("line {line} of the workload {} is not text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },
    /// A job line without exactly 18 fields.
    #[error("line {line} of the workload {} has {found} fields, a job has {FIELDS}", path.display())]
    FieldCount {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The fields it has.
        found: usize,
    },
    /// A field that is not a number of the kind that belongs there.
    #[error("line {line} of the workload {}: {field} is {value:?}, but must be {expected}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The field's name in the format.
        field: &'static str,
        /// What stands there, cut to a readable length.
        value: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// No job at all.
    #[error("the workload {} holds no job", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads at most `limit` jobs from the start of the file at `path`, in file order.
///
/// Lines after the last job wanted are not looked at.
///
/// # Errors
/// [`SwfError`], naming the file and where it applies the line and the field.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<SwfJob>, SwfError> {
    let file = File::open(path).map_err(|source| SwfError::Open { path: path.to_owned(), source })?;
    read(path, BufReader::new(file), limit)
}

/// Reads at most `limit` jobs from `source`; `path` is how errors call it.
///
/// # Errors
/// [`SwfError`], as [`read_file`].
pub fn read(path: &Path, mut source: impl BufRead, limit: usize) -> Result<Vec<SwfJob>, SwfError> {
    let read_error = |line, source| SwfError::Read { path: path.to_owned(), line, source };
    // By content, not by name: traces are often renamed.
    let compressed = source.fill_buf().map_err(|error| read_error(1, error))?.starts_with(&GZIP_MAGIC);
    let mut reader: Box<dyn BufRead + '_> =
        if compressed { Box::new(BufReader::new(MultiGzDecoder::new(source))) } else { Box::new(source) };

    let mut jobs = Vec::new();
    let mut number = 0_u64;
    let mut line = Vec::new();
    while jobs.len() < limit {
        number = number.saturating_add(1);
        line.clear();
        let most = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
        let read =
            reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(|error| read_error(number, error))?;
        if read == 0 {
            break;
        }
        if line.len() > LINE_LIMIT {
            return Err(SwfError::LineTooLong { path: path.to_owned(), line: number, limit: LINE_LIMIT });
        }
        // Headers are skipped before decoding: some archives wrote people's names in Latin-1.
        if line.trim_ascii_start().first().is_none_or(|first| *first == b';') {
            continue;
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Err(SwfError::NotText { path: path.to_owned(), line: number });
        };
        jobs.push(parse_job(path, number, text)?);
    }
    if jobs.is_empty() { Err(SwfError::Empty { path: path.to_owned() }) } else { Ok(jobs) }
}

fn parse_job(path: &Path, line: u64, text: &str) -> Result<SwfJob, SwfError> {
    let words: Vec<&str> = text.split_ascii_whitespace().take(FIELDS.saturating_add(1)).collect();
    let Ok(words) = <[&str; FIELDS]>::try_from(words.as_slice()) else {
        let found = text.split_ascii_whitespace().count();
        return Err(SwfError::FieldCount { path: path.to_owned(), line, found });
    };
    let mut values = [None; FIELDS];
    for ((word, (field, kind)), value) in words.iter().zip(NAMES).zip(values.iter_mut()) {
        let refuse = |expected| SwfError::Field {
            path: path.to_owned(),
            line,
            field,
            value: word.chars().take(40).collect(),
            expected,
        };
        *value = match (kind, parse_number(word)) {
            (Kind::Whole, Some(Number { thousandths, whole: true })) => thousandths.map(|number| number / 1000),
            (Kind::Whole, _) => return Err(refuse("a whole number, or -1 for unknown")),
            (Kind::Fraction, Some(Number { thousandths, .. })) => thousandths,
            (Kind::Fraction, None) => return Err(refuse("a number, or -1 for unknown")),
            (Kind::Required, Some(Number { thousandths: Some(number), .. })) => Some(number),
            (Kind::Required, _) => return Err(refuse("a number of at least 0")),
        };
    }
    let [_id, submit, _wait, run, processors, _cpu, _memory, _asked_processors, requested, rest @ ..] = values;
    let [_asked_memory, _status, user, group, _application, _queue, partition, _preceding, _think] = rest;
    Ok(SwfJob {
        line,
        submit_ms: submit.unwrap_or(0),
        run_ms: run,
        requested_ms: requested,
        processors,
        user,
        group,
        partition,
    })
}

/// A number of the format in thousandths; `None` inside where it is negative, which means unknown.
struct Number {
    thousandths: Option<u64>,
    whole: bool,
}

/// Parses `-?digits(.digits)?`. Digits beyond the third after the point are cut off.
fn parse_number(word: &str) -> Option<Number> {
    let (negative, digits) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
        return None;
    }
    let mut thousandths = whole.parse::<u64>().ok()?.checked_mul(1000)?;
    for (digit, unit) in fraction.bytes().zip([100_u64, 10, 1]) {
        let digit = u64::from(digit.checked_sub(b'0')?);
        thousandths = thousandths.checked_add(digit.checked_mul(unit)?)?;
    }
    let is_whole = fraction.bytes().all(|byte| byte == b'0');
    Some(Number { thousandths: (!negative).then_some(thousandths), whole: is_whole })
}

#[derive(Clone, Copy)]
enum Kind {
    /// An id or a count.
    Whole,
    /// A time or an amount.
    Fraction,
    /// A time that a replay cannot do without.
    Required,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Far above the few hundred bytes of a real line; a file of something else ends here instead of filling memory.
const LINE_LIMIT: usize = 16 * 1024;
const FIELDS: usize = 18;
/// The fields in the format's order.
const NAMES: [(&str, Kind); FIELDS] = [
    ("job number", Kind::Whole),
    ("submit time", Kind::Required),
    ("wait time", Kind::Fraction),
    ("run time", Kind::Fraction),
    ("processors", Kind::Whole),
    ("CPU time", Kind::Fraction),
    ("memory", Kind::Fraction),
    ("requested processors", Kind::Whole),
    ("requested time", Kind::Fraction),
    ("requested memory", Kind::Fraction),
    ("status", Kind::Whole),
    ("user", Kind::Whole),
    ("group", Kind::Whole),
    ("application", Kind::Whole),
    ("queue", Kind::Whole),
    ("partition", Kind::Whole),
    ("preceding job", Kind::Whole),
    ("think time", Kind::Fraction),
];

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LINE: &str = "1 10 -1 20.5 1 -1 -1 -1 60 -1 1 7 2 -1 -1 3 -1 -1\n";

    fn parse(text: &[u8], limit: usize) -> Result<Vec<SwfJob>, SwfError> {
        read(Path::new("test.swf"), text, limit)
    }

    #[test]
    fn a_job_is_read_with_fractions_and_unknowns() {
        let jobs = parse(format!("; Version: 2.2\n\n  ; indented\n{LINE}").as_bytes(), 9).unwrap();
        let expected = SwfJob {
            line: 4,
            submit_ms: 10_000,
            run_ms: Some(20_500),
            requested_ms: Some(60_000),
            processors: Some(1),
            user: Some(7),
            group: Some(2),
            partition: Some(3),
        };
        assert_eq!(jobs, [expected]);
    }

    #[test]
    fn gzip_is_recognised_by_content_even_in_several_members() {
        let mut packed = Vec::new();
        for part in ["; header\n", LINE, LINE] {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            packed.extend(encoder.finish().unwrap());
        }
        assert_eq!(parse(&packed, 9).unwrap().len(), 2);
    }

    #[test]
    fn ids_may_come_in_any_order() {
        let jobs = parse(format!("9{}2{}", &LINE[1..], &LINE[1..]).as_bytes(), 9).unwrap();
        assert_eq!(jobs.len(), 2);
    }

    #[test]
    fn only_as_many_lines_are_read_as_jobs_are_wanted() {
        let jobs = parse(format!("{LINE}{LINE}this is not a job\n").as_bytes(), 2).unwrap();
        assert_eq!(jobs.len(), 2);
    }

    #[test]
    fn a_malformed_line_is_refused_with_its_number() {
        let short = parse(format!("; h\n{LINE}1 2 3\n").as_bytes(), 9).unwrap_err();
        assert_eq!(short.to_string(), "line 3 of the workload test.swf has 3 fields, a job has 18");
        let long = parse(format!("{} 5\n", LINE.trim_end()).as_bytes(), 9).unwrap_err();
        assert!(matches!(long, SwfError::FieldCount { line: 1, found: 19, .. }), "{long}");
        for (from, to, field) in [
            (" 20.5 ", " 20.5.1 ", "run time"),
            (" 20.5 ", " 1e3 ", "run time"),
            (" 20.5 ", " . ", "run time"),
            (" 20.5 ", " 99999999999999999999 ", "run time"),
            (" 10 ", " -1 ", "submit time"),
            (" 7 ", " 7.5 ", "user"),
            (" 7 ", " seven ", "user"),
        ] {
            let error = parse(LINE.replacen(from, to, 1).as_bytes(), 9).unwrap_err();
            assert!(
                matches!(error, SwfError::Field { line: 1, field: found, .. } if found == field),
                "{from} -> {to}: {error}"
            );
        }
    }

    #[test]
    fn whole_fields_accept_a_fraction_of_zero() {
        assert_eq!(parse(LINE.replacen(" 7 ", " 7.00 ", 1).as_bytes(), 9).unwrap()[0].user, Some(7));
    }

    #[test]
    fn an_endless_line_is_refused_before_it_fills_memory() {
        let error = parse(&vec![b'1'; LINE_LIMIT * 4], 9).unwrap_err();
        assert!(matches!(error, SwfError::LineTooLong { line: 1, .. }), "{error}");
    }

    #[test]
    fn text_that_is_no_utf8_and_broken_gzip_are_refused() {
        assert!(matches!(parse(b"; caf\xe9\n1 \xff\n", 9), Err(SwfError::NotText { line: 2, .. })));
        assert!(matches!(parse(&[0x1f, 0x8b, 8, 0, 1], 9), Err(SwfError::Read { line: 1, .. })));
    }

    #[test]
    fn a_file_without_jobs_is_refused() {
        assert!(matches!(parse(b"; only a header\n", 9), Err(SwfError::Empty { .. })));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_file(Path::new("/nowhere/at all.swf"), 1).unwrap_err();
        assert_eq!(error.to_string(), "cannot open the workload /nowhere/at all.swf");
    }
}
