use std::fmt::{self, Write};

/// Appends an integer.
#[inline]
pub(super) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a number as Go writes a `float64`: the shortest text that gives it back, with an exponent only when it is very
/// large or very small. JSON has no text for one that is not finite.
pub(super) fn float(out: &mut Vec<u8>, number: f64) -> fmt::Result {
    let size = number.abs();
    let mut out = Plain(out);
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return write!(out, "{number}");
    }
    if !number.is_finite() {
        return Err(fmt::Error);
    }
    // Rust leaves the sign of a positive exponent out.
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if size > 1.0 => write!(out, "{digits}e+{exponent}"),
        _ => out.write_str(&text),
    }
}

struct Plain<'a>(&'a mut Vec<u8>);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        // The rule of `encoding/json`: an exponent below 1e-6 and from 1e21 on, without a leading zero in it.
        let cases = [
            (7.0, "7"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (-1.25e-9, "-1.25e-9"),
        ];
        for (number, expected) in cases {
            let mut out = Vec::new();
            float(&mut out, number).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert!(float(&mut Vec::new(), f64::NAN).is_err());
        assert!(float(&mut Vec::new(), f64::INFINITY).is_err());
    }
}
