//! Durations as people write them on a command line: `250ms`, `1s`, `2m`, `1h`.

use std::time::Duration;

/// Parses a whole number with one of the units `ms`, `s`, `m`, `h`.
///
/// # Errors
/// What may be written instead, as a sentence for the user.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED.to_owned()),
    };
    let millis =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).ok_or_else(|| EXPECTED.to_owned())?;
    Ok(Duration::from_millis(millis))
}

/// The duration as [`parse`] reads it, in the largest unit that tells it whole. Less than a millisecond is left out.
pub(crate) fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    [(3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit_ms, _)| millis > 0 && millis.is_multiple_of(*unit_ms))
        .map_or_else(|| format!("{millis}ms"), |(unit_ms, unit)| format!("{}{unit}", millis.div_euclid(unit_ms)))
}

const EXPECTED: &str = "expected a whole number with a unit, such as 250ms, 1s, 2m or 1h";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for (text, shown) in
            [("0s", "0ms"), ("1500ms", "1500ms"), ("90s", "90s"), ("120s", "2m"), ("60m", "1h"), ("168h", "168h")]
        {
            let duration = parse(text).unwrap();
            assert_eq!(show(duration), shown);
            assert_eq!(parse(shown), Ok(duration));
        }
    }

    #[test]
    fn units_are_understood_and_everything_else_refused() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "s", "1.5s", "-1s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
