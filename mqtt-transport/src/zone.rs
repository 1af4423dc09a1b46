//! Zones of IPv6 addresses in URIs: `[fe80::1%25eth0]` (RFC 6874), and `[fe80::1%eth0]`, as people
//! and tools write it.

use crate::uri::UriError;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// As long as a zone may be; names of interfaces are shorter.
const LONGEST: usize = 64;

/// Takes the zone out of the host of a URI, if it has one.
pub(crate) fn split(uri: &str) -> Result<(Cow<'_, str>, Option<String>), UriError> {
    let Some((before, inner, behind)) = bracketed(uri) else {
        return Ok((uri.into(), None));
    };
    let Some((address, rest)) = inner.split_once('%') else {
        return Ok((uri.into(), None));
    };
    let zone = match rest.strip_prefix("25").filter(|zone| !zone.is_empty()) {
        Some(encoded) => percent_decode_str(encoded)
            .decode_utf8()
            .unwrap_or_default(),
        None => rest.into(),
    };
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"/@?#[]\\%\"<>".contains(&b);
    if zone.is_empty() || zone.len() > LONGEST || !zone.bytes().all(is_plain) {
        return Err(UriError::Host(
            "behind the % of an IPv6 address is the name or number of a network interface",
        ));
    }
    Ok((
        format!("{before}[{address}]{behind}").into(),
        Some(zone.into_owned()),
    ))
}

/// What is before, in and behind the brackets of the host.
fn bracketed(uri: &str) -> Option<(&str, &str, &str)> {
    let (scheme, _) = uri.split_once("://")?;
    if !scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        return None;
    }
    let start = scheme.len() + 3;
    let end = uri[start..]
        .find(['/', '?', '#'])
        .map_or(uri.len(), |at| start + at);
    let host = start + uri[start..end].rfind('@').map_or(0, |at| at + 1);
    let inner = uri[host..end].strip_prefix('[')?;
    let (inner, _) = inner.split_once(']')?;
    Some((&uri[..host], inner, &uri[host + inner.len() + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_no_longer_than_a_name_can_be() {
        let zone = |length: usize| {
            let uri = format!("mqtt://[fe80::1%{}]", "e".repeat(length));
            split(&uri).map(|(_, zone)| zone.expect("there is one").len())
        };
        assert_eq!(zone(LONGEST), Ok(LONGEST));
        assert!(zone(LONGEST + 1).is_err() && zone(0).is_err());
    }
}
