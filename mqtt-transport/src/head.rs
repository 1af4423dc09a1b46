//! The head of an HTTP answer: collected here, whole, before anybody looks at it.

use crate::error::{CONNACK, TLS_ALERT, shown};
use bytes::{Buf, BytesMut};

/// The most that a head may be. Proxies and servers send a few hundred bytes; cookies make it some
/// thousand.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// As much of an answer as an error shows.
pub(crate) const SHOWN: usize = 400;

/// A head that is not all there yet.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: BytesMut,
    /// Bytes of the line that has not ended, without CR.
    line: usize,
}

/// Why this is not the head of an HTTP answer, in words that follow "the server" or "the proxy".
pub(crate) type NotHttp = String;

impl Head {
    /// Takes what belongs to the head from the front of `input`, and returns the head with its
    /// empty line once it is whole. What lies behind stays in `input`.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, NotHttp> {
        for (at, &byte) in input.iter().enumerate() {
            let position = self.bytes.len() + at;
            if b"HTTP/"
                .get(position)
                .is_some_and(|&expected| byte != expected)
            {
                return Err(not_http(if position == 0 { byte } else { b'H' }));
            }
            if position == MAX_HEAD {
                return Err(format!("answered with a head of over {MAX_HEAD} bytes"));
            }
            match byte {
                b'\n' if self.line == 0 => {
                    self.bytes.extend_from_slice(&input[..=at]);
                    input.advance(at + 1);
                    self.line = 0;
                    return Ok(Some(self.bytes.split()));
                }
                b'\n' => self.line = 0,
                b'\r' => {}
                _ => self.line += 1,
            }
        }
        self.bytes.extend_from_slice(input);
        input.clear();
        Ok(None)
    }

    /// Whether any of it is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn not_http(first: u8) -> String {
    match first {
        TLS_ALERT => "speaks TLS here, and was spoken to without it".into(),
        CONNACK => "answered with an MQTT CONNACK, not with HTTP".into(),
        0x05 => "answered as a SOCKS5 proxy, not with HTTP".into(),
        _ => format!("did not answer with HTTP (its first byte is {first:#04x})"),
    }
}

/// The status of a whole head; `None` when its first line has none.
pub(crate) fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&b| b == b'\n').next()?;
    let code = line.split(|&b| b == b' ').nth(1)?.trim_ascii();
    if code.len() != 3 {
        return None;
    }
    std::str::from_utf8(code)
        .ok()?
        .parse()
        .ok()
        .filter(|code| (100..1000).contains(code))
}

/// The first line, fit to be shown.
pub(crate) fn status_line(head: &[u8]) -> String {
    shown(
        head.split(|&b| b == b'\n').next().unwrap_or_default(),
        SHOWN,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_a_head_stays() {
        for end in ["\r\n", "\n"] {
            let head = format!("HTTP/1.1 200 OK{end}A: b{end}{end}");
            let mut input = BytesMut::from(format!("{head}behind").as_bytes());
            assert_eq!(
                Head::default().take(&mut input).unwrap().unwrap(),
                head.as_bytes()
            );
            assert_eq!(input, &b"behind"[..]);

            let mut parts = Head::default();
            for (at, byte) in head.bytes().enumerate() {
                let whole = parts.take(&mut BytesMut::from(&[byte][..])).unwrap();
                assert_eq!(whole.is_some(), at + 1 == head.len());
            }
        }
    }

    #[test]
    fn a_head_is_bounded() {
        let mut head = Head::default();
        assert_eq!(
            head.take(&mut BytesMut::from("HTTP/1.1 200 OK\r\n")),
            Ok(None)
        );
        let mut taken = 17;
        while head.take(&mut BytesMut::from("A: b\r\n")).is_ok() {
            taken += 6;
        }
        assert!(taken <= MAX_HEAD && taken + 6 > MAX_HEAD);
    }

    #[test]
    fn statuses() {
        let table: &[(&str, Option<u16>)] = &[
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Some(101)),
            ("HTTP/1.0 200\r\n\r\n", Some(200)),
            ("HTTP/1.1 20 OK\r\n\r\n", None),
            ("HTTP/1.1 +20 OK\r\n\r\n", None),
            ("HTTP/1.1\r\n\r\n", None),
        ];
        for (head, code) in table {
            assert_eq!(status(head.as_bytes()), *code, "{head}");
        }
    }
}
