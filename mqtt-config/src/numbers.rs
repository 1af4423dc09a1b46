//! What a scalar without quotes stands for.
//!
//! amqtt reads its files with PyYAML, which knows YAML 1.1. What 1.2 calls a number is one
//! everywhere, and text must be put in quotes not to be one. What only 1.1 calls a number (`010`,
//! `1_000`, `1:30`) is one where a setting is a number, and text elsewhere: a client identifier
//! `11:22:33` is meant as text.

/// What it can stand for.
#[derive(Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Itself.
    Text(String),
}

/// What YAML 1.2 makes of it.
pub(crate) fn resolve(text: String) -> Scalar {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    let (sign, digits) = signed(&text);
    let is_decimal =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let whole = match digits.get(..2) {
        Some("0x") => based(&digits[2..], 16, false),
        Some("0o") => based(&digits[2..], 8, false),
        Some("0b") => based(&digits[2..], 2, false),
        _ if is_decimal => based(digits, 10, false),
        _ => None,
    };
    if let Some(number) = whole {
        return Scalar::Int(sign * number);
    }
    match digits {
        ".inf" | ".Inf" | ".INF" => return Scalar::Float(f64::INFINITY * sign as f64),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    match fraction(digits) {
        // `00.5` is text, as `010` is.
        Some(number)
            if !digits.starts_with('0')
                || !digits[1..].starts_with(|c: char| c.is_ascii_digit()) =>
        {
            Scalar::Float(sign as f64 * number)
        }
        _ => Scalar::Text(text),
    }
}

/// What is no number in YAML 1.2 and one in YAML 1.1, as PyYAML reads it.
pub(crate) fn yaml_1_1(text: &str) -> Option<Scalar> {
    let (sign, digits) = signed(text);
    let first = digits.bytes().next()?;
    if digits.contains(':') {
        // Hours, minutes and seconds, or as many parts as there are.
        let mut parts = digits.split(':');
        let (mut total, mut fraction_of_last) = (sexagesimal_head(parts.next()?)?, None);
        let mut rest = parts.peekable();
        while let Some(part) = rest.next() {
            let (part, after_dot) = match part.split_once('.') {
                Some((part, after)) if rest.peek().is_none() => (part, Some(after)),
                Some(_) => return None,
                None => (part, None),
            };
            let is_sixtieth = matches!(part.len(), 1 | 2)
                && part.bytes().all(|b| b.is_ascii_digit())
                && (part.len() == 1 || part.as_bytes()[0] <= b'5');
            if !is_sixtieth {
                return None;
            }
            total = total.checked_mul(60)?.checked_add(part.parse().ok()?)?;
            fraction_of_last = after_dot;
        }
        return match fraction_of_last {
            // `[1-9]` is asked of the first digit of whole numbers only.
            None => (first != b'0').then_some(Scalar::Int(sign * total)),
            Some(after) => {
                let after = fraction(&format!("0.{}", without_underscores(after)?))?;
                Some(Scalar::Float(sign as f64 * (total as f64 + after)))
            }
        };
    }
    let whole = match digits.get(..2) {
        Some("0x") => based(&digits[2..], 16, true),
        Some("0b") => based(&digits[2..], 2, true),
        // Of 1.2, but with underscores.
        Some("0o") => based(&digits[2..], 8, true),
        _ if first == b'0' && digits.len() > 1 => based(&digits[1..], 8, true),
        _ => based(digits, 10, true).filter(|_| first.is_ascii_digit()),
    };
    if let Some(number) = whole {
        return Some(Scalar::Int(sign * number));
    }
    let number = fraction(&without_underscores_in_fraction(digits)?)?;
    Some(Scalar::Float(sign as f64 * number))
}

fn signed(text: &str) -> (i128, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    }
}

/// A whole number without a sign.
fn based(digits: &str, base: u32, underscores: bool) -> Option<i128> {
    let digits = if underscores {
        digits.replace('_', "")
    } else {
        digits.to_owned()
    };
    // What `from_str_radix` takes besides digits.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(&digits, base).ok()
}

fn sexagesimal_head(digits: &str) -> Option<i128> {
    based(digits, 10, true).filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))
}

fn without_underscores(digits: &str) -> Option<String> {
    digits
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'_')
        .then(|| digits.replace('_', ""))
}

/// PyYAML takes underscores around a decimal point, and not in an exponent.
fn without_underscores_in_fraction(text: &str) -> Option<String> {
    let (before, after) = text.split_once('.')?;
    if text.trim_start_matches('.').starts_with('_') {
        return None;
    }
    let (after, exponent) = match after.find(['e', 'E']) {
        Some(at) => after.split_at(at),
        None => (after, ""),
    };
    Some(format!(
        "{}.{}{exponent}",
        without_underscores(before)?,
        without_underscores(after)?
    ))
}

/// A number with a fraction or an exponent, or one too large for [`based`]; without a sign.
fn fraction(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let first = text.trim_start_matches('.').bytes().next()?;
    // Rust's own form also takes words, and a sign here would be the second one.
    (is_plain && first.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        // What is too large for a number, such as 1e999, is text; the writer does not quote it.
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of amqtt with `reconnect_max_interval: 1_000` or `keep_alive: 0o17` was rejected, or
    /// meant something else. The right column is what PyYAML 6.0.4 prints, but for 1e3 and 0o17,
    /// which it takes for text.
    #[test]
    fn whole_numbers_as_pyyaml_reads_them() {
        let table = [
            ("0", Some(0)),
            ("10", Some(10)),
            ("+10", Some(10)),
            ("-10", Some(-10)),
            ("010", Some(8)),
            ("-010", Some(-8)),
            ("0_1_0", Some(8)),
            ("00", Some(0)),
            ("08", None),
            ("0o17", Some(15)),
            ("0x1F", Some(31)),
            ("0x_1f", Some(31)),
            ("0b101", Some(5)),
            ("0b1_01", Some(5)),
            ("1_000", Some(1000)),
            ("1__0_", Some(10)),
            ("_10", None),
            ("1:30", Some(90)),
            ("1:30:00", Some(5400)),
            ("-1:30", Some(-90)),
            ("190:20:30", Some(685_230)),
            ("1:60", None),
            ("1:5:9", Some(3909)),
            ("01:30", None),
            ("0:30", None),
            ("1:", None),
            (":30", None),
            ("1:300", None),
            ("--1", None),
            ("0x-1", None),
            ("0x", None),
            ("+", None),
            ("-", None),
            ("1 0", None),
            ("0é", None),
            ("é", None),
        ];
        for (text, number) in table {
            let number = number.map(Scalar::Int);
            let found = match resolve(text.to_owned()) {
                Scalar::Text(text) => yaml_1_1(&text),
                other => Some(other),
            };
            assert_eq!(found, number, "{text}");
        }
    }

    #[test]
    fn fractions_as_pyyaml_reads_them() {
        let table = [
            ("1.5", Some(1.5)),
            ("-1.5", Some(-1.5)),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("1_0.5", Some(10.5)),
            ("1.5e+3", Some(1500.0)),
            ("1e3", Some(1000.0)),
            ("1e999", None),
            ("1:30.5", Some(90.5)),
            ("0:30.5", Some(30.5)),
            (".inf", Some(f64::INFINITY)),
            ("-.INF", Some(f64::NEG_INFINITY)),
            ("inf", None),
            ("nan", None),
            ("infinity", None),
            ("1.5.5", None),
            ("1.1.1", None),
            ("1.5:30", None),
            (".", None),
            ("._5", None),
            ("_5.0", None),
            ("e3", None),
        ];
        for (text, number) in table {
            let found = match resolve(text.to_owned()) {
                Scalar::Text(text) => yaml_1_1(&text),
                other => Some(other),
            };
            assert_eq!(found, number.map(Scalar::Float), "{text}");
        }
        assert!(matches!(resolve(".nan".to_owned()), Scalar::Float(number) if number.is_nan()));
    }

    #[test]
    fn words() {
        for text in ["", "~", "null"] {
            assert_eq!(resolve(text.to_owned()), Scalar::Null, "{text}");
        }
        assert_eq!(resolve("True".to_owned()), Scalar::Bool(true));
        for text in [
            "yes",
            "on",
            "nULL",
            "010",
            "1_000",
            "11:22:33",
            "2001-01-01",
        ] {
            assert_eq!(resolve(text.to_owned()), Scalar::Text(text.to_owned()));
        }
    }
}
