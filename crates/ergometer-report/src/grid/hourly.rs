//! [`Hours`]: carbon intensities hour by hour, from a file.

use std::fmt;
use std::fs;
use std::path::Path;

use ergometer::{Error, Result};
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::quantity::CarbonIntensity;
use crate::site::possible;

/// Carbon intensities of consecutive hours, in grams of CO2 equivalent per kilowatt hour.
///
/// A file has a line for each hour: when it begins and its g/kWh, with a comma between. Times are RFC 3339
/// (`2026-01-31T13:00:00Z`, `2026-01-31T14:00+01:00`) or local times of a zone that is given (`2026-01-31 14:00`). Empty
/// lines, lines that begin with `#`, and a first line of titles are passed over.
///
/// ```
/// use std::path::Path;
/// use ergometer_report::grid::hourly::Hours;
///
/// let text = "time,g/kWh\n2026-01-31T22:00Z,61\n2026-01-31T23:00Z,48.5\n2026-02-01T00:00Z,45\n";
/// let hours = Hours::parse(text, Path::new("france.csv"), None)?;
/// assert_eq!(hours.intensities.len(), 3);
/// assert_eq!(hours.end().to_string(), "2026-02-01T01:00:00Z");
/// # Ok::<(), ergometer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    /// The beginning of the first hour.
    pub start: Timestamp,
    /// One for each hour, without a gap.
    pub intensities: Vec<CarbonIntensity>,
    /// Where they are from: the file and what it spans.
    pub source: String,
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

impl Hours {
    /// Reads a file. The `zone` is that of its local times: `Europe/Paris`, `+01:00`, `UTC`; times that say their offset
    /// need none.
    ///
    /// # Errors
    /// A file that cannot be read or holds no hour; a line of another form; a local time without a zone; an hour that is
    /// missing, there twice or out of turn; an intensity that electricity cannot have. Each names the file and the line.
    pub fn read(path: impl AsRef<Path>, zone: Option<&str>) -> Result<Hours> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|cause| Error::file("read", path, cause))?;
        Hours::parse(&text, path, zone)
    }

    /// The same of a text; `path` is what it is called in messages.
    ///
    /// # Errors
    /// As [`read`](Hours::read).
    pub fn parse(text: &str, path: &Path, zone: Option<&str>) -> Result<Hours> {
        let zone = zone.map(time_zone).transpose()?;
        let mut intensities = Vec::new();
        let mut start = None;
        let mut titled = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let begun = line.starts_with(|letter: char| letter.is_ascii_digit());
            if !begun && start.is_none() && !titled {
                titled = true;
                continue;
            }
            let place = Place { path, number };
            let (time, intensity) = place.hour(line)?;
            let time = place.time(time)?;
            match start {
                None => start = Some(time.first(zone.as_ref(), place)?),
                Some(start) => {
                    let due = due(start, intensities.len(), place)?;
                    time.follow(due, zone.as_ref(), place)?;
                }
            }
            intensities.push(intensity);
        }
        let start = start.ok_or_else(|| {
            Error::invalid(format!("`{}` holds no hour", path.display()))
                .cure("write a line for each hour: when it begins, a comma, its g/kWh")
        })?;
        let hours = Hours { start, intensities, source: String::new() };
        let source = format!(
            "{}, {} hours from {:.0}",
            path.file_name().unwrap_or(path.as_os_str()).display(),
            hours.intensities.len(),
            start
        );
        Ok(Hours { source, ..hours })
    }

    /// The end of the last hour.
    pub fn end(&self) -> Timestamp {
        let hours = i64::try_from(self.intensities.len()).unwrap_or(i64::MAX);
        self.start.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX)
    }
}

/// When the hour begins that follows `hours` others.
fn due(start: Timestamp, hours: usize, place: Place<'_>) -> Result<Timestamp> {
    let hours = i64::try_from(hours).unwrap_or(i64::MAX);
    SignedDuration::try_from_hours(hours)
        .and_then(|time| start.checked_add(time).ok())
        .ok_or_else(|| place.error("the time is beyond the calendar", "check the times"))
}

fn time_zone(name: &str) -> Result<TimeZone> {
    DateTimeParser::new().parse_time_zone(name).map_err(|cause| {
        Error::invalid(format!("`{name}` is no time zone that is known here: {cause}"))
            .cure("give a name such as Europe/Paris, an offset such as +01:00, or UTC")
    })
}

/// A line of a file.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    number: usize,
}

impl<'a> Place<'a> {
    fn error(self, what: impl fmt::Display, cure: impl Into<String>) -> Error {
        Error::invalid(format!("`{}` line {}: {what}", self.path.display(), self.number)).cure(cure)
    }

    /// The two fields, the second as what it says.
    fn hour(self, line: &str) -> Result<(&str, CarbonIntensity)> {
        let fields: Vec<&str> =
            line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let &[time, intensity] = fields.as_slice() else {
            return Err(self.error(
                format_args!("there are {} fields and not two", fields.len()),
                "keep when the hour begins and its g/kWh, with a comma between",
            ));
        };
        let size: f64 = intensity.parse().map_err(|_| {
            self.error(
                format_args!("`{intensity}` is not a number of g/kWh"),
                "write it with a decimal point; for an hour that is not known, find its value",
            )
        })?;
        let intensity = possible(CarbonIntensity::from_grams_per_kilowatt_hour(size))
            .map_err(|error| self.error(error.what(), error.remedy().unwrap_or_default()))?;
        Ok((time, intensity))
    }

    fn time(self, text: &str) -> Result<Time> {
        let time = text.parse().map(Time::Absolute).or_else(|_| text.parse().map(Time::Local));
        time.map_err(|_: jiff::Error| {
            self.error(
                format_args!("`{text}` is not a time"),
                "write it as 2026-01-31T13:00:00Z or, with a zone, as 2026-01-31 13:00",
            )
        })
    }
}

/// A time as a line has it.
enum Time {
    Absolute(Timestamp),
    Local(DateTime),
}

impl Time {
    /// The first time of a file, from which the others are counted.
    fn first(&self, zone: Option<&TimeZone>, place: Place<'_>) -> Result<Timestamp> {
        match self {
            Time::Absolute(time) => Ok(*time),
            Time::Local(local) => {
                let zone = zone_of(zone, place)?;
                zone.to_ambiguous_timestamp(*local).unambiguous().map_err(|_| {
                    place.error(
                        format_args!("{local} is there twice or not at all, as clocks change"),
                        "write the first time with its offset, as 2026-10-25T02:00+01:00",
                    )
                })
            }
        }
    }

    /// Sees to it that this time is the one that is due.
    ///
    /// Local times are compared as local times, so that an hour that clocks repeat or leave out is in its place.
    fn follow(&self, due: Timestamp, zone: Option<&TimeZone>, place: Place<'_>) -> Result<()> {
        let (time, printed) = match self {
            Time::Absolute(time) => (*time, time.to_string()),
            Time::Local(local) => {
                let zone = zone_of(zone, place)?;
                if zone.to_datetime(due) == *local {
                    return Ok(());
                }
                let time = zone.to_ambiguous_timestamp(*local).compatible().map_err(|_| {
                    place.error("the time is beyond the calendar", "check the times")
                })?;
                (time, local.to_string())
            }
        };
        if time == due {
            return Ok(());
        }
        let due_printed = match (self, zone) {
            (Time::Local(_), Some(zone)) => zone.to_datetime(due).to_string(),
            _ => due.to_string(),
        };
        let before = due.checked_sub(HOUR).unwrap_or(Timestamp::MIN);
        let ahead = time.duration_since(due);
        Err(if time > due && ahead == SignedDuration::from_hours(ahead.as_hours()) {
            place.error(
                format_args!("hours are missing: {due_printed} should come, not {printed}"),
                "fill the gap; what is missing is not guessed",
            )
        } else if time == before {
            place.error(format_args!("{printed} is there twice"), "keep one line for each hour")
        } else if time < due && time > before || time > due {
            place.error(
                format_args!("{printed} is not an hour after the line before"),
                "give hourly means; of shorter intervals, average them",
            )
        } else {
            place.error(
                format_args!("{printed} is out of turn: {due_printed} should come"),
                "sort the lines by time, and keep one for each hour",
            )
        })
    }
}

fn zone_of<'z>(zone: Option<&'z TimeZone>, place: Place<'_>) -> Result<&'z TimeZone> {
    zone.ok_or_else(|| {
        place.error(
            "a local time, and nothing says of which zone",
            "give the zone, or write times with their offsets, as 2026-01-31T13:00:00Z",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, zone: Option<&str>) -> Result<Hours> {
        Hours::parse(text, Path::new("grid.csv"), zone)
    }

    fn refusal(text: &str, zone: Option<&str>) -> String {
        parse(text, zone).unwrap_err().to_string()
    }

    #[test]
    fn offsets_and_zones_tell_the_same_hours() {
        let absolute = parse("2026-01-31T23:00:00Z,50\n2026-02-01T00:00Z,60\n", None).unwrap();
        let offset = parse("2026-02-01T00:00+01:00,50\n2026-02-01T01:00+01:00,60\n", None).unwrap();
        let local = parse("at;\n2026-02-01 00:00,50\n2026-02-01 01:00,60", Some("+01:00")).unwrap();
        assert_eq!(absolute, offset);
        assert_eq!(absolute, local);
        assert_eq!(absolute.source, "grid.csv, 2 hours from 2026-01-31T23:00:00Z");
    }

    #[test]
    fn clocks_that_change_leave_neither_gap_nor_double() {
        let spring = "2026-03-29 01:00,1\n2026-03-29 03:00,2\n2026-03-29 04:00,3\n";
        let autumn =
            "2026-10-25 01:00,1\n2026-10-25 02:00,2\n2026-10-25 02:00,3\n2026-10-25 03:00,4\n";
        // A system without a time zone database knows no zone by name.
        let Ok(spring) = parse(spring, Some("Europe/Paris")) else {
            assert!(TimeZone::get("Europe/Paris").is_err());
            return;
        };
        assert_eq!(spring.start.to_string(), "2026-03-29T00:00:00Z");
        assert_eq!(spring.end().to_string(), "2026-03-29T03:00:00Z");
        assert_eq!(parse(autumn, Some("Europe/Paris")).unwrap().intensities.len(), 4);
        let from_the_fold =
            refusal("2026-10-25 02:00,2\n2026-10-25 02:00,3\n", Some("Europe/Paris"));
        assert!(from_the_fold.contains("twice or not at all"), "{from_the_fold}");
    }

    #[test]
    fn a_refusal_names_file_line_and_cure() {
        let first = "2026-01-31T00:00Z,50\n";
        for (rest, told) in [
            ("2026-01-31T02:00Z,60", "`grid.csv` line 2: hours are missing: 2026-01-31T01:00:00Z"),
            ("2026-01-31T00:00Z,60", "`grid.csv` line 2: 2026-01-31T00:00:00Z is there twice"),
            ("2026-01-31T00:30Z,60", "is not an hour after the line before; give hourly means"),
            ("2026-01-30T00:00Z,60", "out of turn"),
            ("2026-01-31T01:00Z,0", "line 2: a carbon intensity of 0 g CO2e/kWh is not possible"),
            ("2026-01-31T01:00Z,-5", "not possible"),
            ("2026-01-31T01:00Z,NaN", "not possible"),
            ("2026-01-31T01:00Z,", "`` is not a number of g/kWh"),
            ("2026-01-31T01:00Z,1,2", "there are 3 fields and not two"),
            ("tomorrow,5", "`tomorrow` is not a time"),
            ("2026-01-31 01:00,5", "nothing says of which zone; give the zone"),
        ] {
            let refusal = refusal(&format!("{first}{rest}\n"), None);
            assert!(refusal.contains(told), "{refusal}");
        }
        assert!(refusal("# nothing\ntime,g/kWh\n", None).contains("`grid.csv` holds no hour"));
        assert!(refusal(first, Some("Mars/Olympus")).contains("no time zone"));
        assert!(Hours::read("nowhere.csv", None).unwrap_err().to_string().contains("nowhere.csv"));
    }
}
