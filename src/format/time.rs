use chrono::{DateTime, Datelike, Timelike, Utc};

use super::FormatError;

/// RFC 3339 in whole seconds of UTC: `2023-04-03T06:04:46Z`.
pub(super) fn rfc3339(time: DateTime<Utc>) -> Result<[u8; 20], FormatError> {
    let year = match u32::try_from(time.year()) {
        Ok(year @ 0..=9999) => year,
        _ => return Err(FormatError::new("occur_at lies outside the years that RFC 3339 can tell")),
    };
    let mut text = *b"0000-00-00T00:00:00Z";
    let parts = [year / 100, year % 100, time.month(), time.day(), time.hour(), time.minute(), time.second()];
    for (at, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
        text[at] += (part / 10) as u8;
        text[at + 1] += (part % 10) as u8;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        for seconds in [0, 951_782_400, 1_680_501_893, -62_135_596_800, 253_402_300_799] {
            let time = DateTime::from_timestamp(seconds, 0).unwrap();
            let expected = time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            assert_eq!(rfc3339(time).unwrap(), *expected.as_bytes());
        }
        assert!(rfc3339(DateTime::from_timestamp(253_402_300_800, 0).unwrap()).is_err());
    }
}
