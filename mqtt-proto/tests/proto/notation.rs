//! Bytes as tests write them: hexadecimal digits, and text in single quotes.

/// `"30 05 0001 'a' 00"` is `30 05 00 01 61 00`.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, part) in text.split('\'').enumerate() {
        if i % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|d| d as u8)
            .collect();
        assert!(
            digits.len() % 2 == 0
                && part
                    .chars()
                    .all(|c| c.is_whitespace() || c.is_ascii_hexdigit()),
            "not bytes: {text}"
        );
        out.extend(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    out
}
